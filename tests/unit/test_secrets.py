"""A cell's key follows from the site's; nothing follows from a cell's."""

from pathlib import Path

import pytest

from control.secrets import CellKey, SiteKey, SiteKeyError


def test_each_cell_has_a_key_of_its_own(tmp_path: Path) -> None:
    site = SiteKey.load_or_make(tmp_path / "site.key")
    sealed = site.of_cell("cell1").encrypt(b"secret")
    site.of_cell("cell1").save(tmp_path / "cell.key")
    assert CellKey.load(tmp_path / "cell.key").decrypt(sealed) == b"secret"
    assert (tmp_path / "cell.key").stat().st_mode & 0o777 == 0o600
    for other in (site.of_cell("cell2"), site):
        with pytest.raises(SiteKeyError, match="is encrypted under another"):
            other.decrypt(sealed)


def test_a_missing_key_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SiteKeyError, match=r"no cell key at .*: run kilonova bootstrap"):
        CellKey.load(tmp_path / "none")
