"""A configuration that cannot be used is refused with a line that names what is wrong."""

from pathlib import Path

import pytest

from runtime.settings import BadSettingsError, load_settings


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[top.store]\ntimeout = "soon"\n', r"top\.store\.timeout.*could not convert string to float: 'soon'"),
        ("[top.store]\nfoo = 1\n", r"top\.store\.foo"),
        ("[top.store\n", "configuration"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    """It said that an error had occurred."""
    path = tmp_path / "control.toml"
    path.write_text(text)
    with pytest.raises(BadSettingsError, match=said):
        load_settings(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSettingsError, match=r"no configuration file at .*missing\.toml"):
        load_settings(tmp_path / "missing.toml")
