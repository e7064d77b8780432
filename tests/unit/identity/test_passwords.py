"""What is no hash is matched by no password, and takes as long to find out."""

import time

import pytest

from control.identity.passwords import Passwords


@pytest.mark.parametrize("stored", [None, "", "!", "*", "$argon2id$", "nobody has this password"])
async def test_nothing_matches_what_is_no_hash(stored: str | None) -> None:
    passwords = Passwords()
    for password in ("", "nobody has this password", stored or ""):
        assert not await passwords.matches(stored, password)


async def test_it_takes_as_long_where_there_is_no_hash() -> None:
    passwords = Passwords()
    hashed = await passwords.hash("right")
    assert await passwords.matches(hashed, "right")

    async def fastest(stored: str | None) -> float:
        took: list[float] = []
        for _ in range(5):
            began = time.perf_counter()
            assert not await passwords.matches(stored, "wrong")
            took.append(time.perf_counter() - began)
        return min(took)

    real = await fastest(hashed)
    for stored in (None, "", "!"):
        assert await fastest(stored) > real / 2


async def test_each_process_compares_with_another_stand_in() -> None:
    one, two = Passwords(), Passwords()
    assert one._stand_in != two._stand_in
