"""What is no hash is matched by no password, and takes as long to find out."""

from types import SimpleNamespace

import pytest
from argon2 import extract_parameters

from control.identity import passwords as passwords_module
from control.identity.passwords import HASHER, Passwords


@pytest.mark.parametrize("stored", [None, "", "!", "*", "$argon2id$", "nobody has this password"])
async def test_nothing_matches_what_is_no_hash(stored: str | None) -> None:
    passwords = Passwords()
    for password in ("", "nobody has this password", stored or ""):
        assert not await passwords.matches(stored, password)


async def test_it_takes_as_long_where_there_is_no_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told by what is verified, not by a clock: each refusal verifies one hash of the same cost."""
    verified: list[str] = []

    def verify(stored: str, password: str) -> bool:
        verified.append(stored)
        return HASHER.verify(stored, password)

    monkeypatch.setattr(passwords_module, "HASHER", SimpleNamespace(hash=HASHER.hash, verify=verify))
    passwords = Passwords()
    hashed = await passwords.hash("right")
    for stored in (hashed, None, "", "!"):
        assert not await passwords.matches(stored, "wrong")
    assert len(verified) == 4
    assert all(extract_parameters(stored) == extract_parameters(hashed) for stored in verified)


async def test_each_process_compares_with_another_stand_in() -> None:
    one, two = Passwords(), Passwords()
    assert one._stand_in != two._stand_in
