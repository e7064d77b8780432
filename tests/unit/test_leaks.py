"""What the run of the tests looks for in logs is found when it is there."""

from pathlib import Path

import pytest
from leaks import PLANTED, leaks, leaks_in_logs


@pytest.mark.parametrize(
    "secret",
    [
        "gAAAAABnT9x-Zk3mB1oYw0p4Xq2m9LrTtUv5EwQ",
        "$argon2id$v=19$m=65536",
        "-----BEGIN EC PRIVATE KEY-----",
        f"adminPass={PLANTED}",
    ],
)
def test_secrets_are_found(secret: str, tmp_path: Path) -> None:
    assert len(leaks(f"some line with {secret} in it")) == 1
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "api.log").write_text(f"a line\n{secret}\n")
    assert len(list(leaks_in_logs(tmp_path))) == 1
    (tmp_path / "deep" / "api.log").unlink()  # not to be found again at the end of the run


def test_what_is_no_secret_is_not() -> None:
    assert not leaks("req-4f1c log in as admin, token refused, gAAAAA")
