"""Passwords: argon2id in threads, so few at a time that a storm of logins costs neither memory nor the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from schemas.errors import Unavailable

T = TypeVar("T")

HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
"""OWASP's first choice for argon2id: 19 MiB, two passes, one lane"""
AT_ONCE: Final = 4
WAITING: Final = 500
"""logins that may wait; who comes later is sent away at once"""
NOBODY: Final = HASHER.hash("nobody has this password")
"""what an unknown user's password is compared with, so that the answer takes as long"""


class Passwords:
    """One a process."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="argon2")
        self._waiting = 0

    async def hash(self, password: str) -> str:
        return await self._in_turn(partial(HASHER.hash, password))

    async def matches(self, stored: str | None, password: str) -> bool:
        """`stored` is None for a user that does not exist: false, after as long a time."""
        return await self._in_turn(partial(_verify, stored or NOBODY, password)) and stored is not None

    async def _in_turn(self, work: Callable[[], T]) -> T:
        if self._waiting >= WAITING:
            raise Unavailable("too many logins at once: try again in a few seconds")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1


def _verify(stored: str, password: str) -> bool:
    try:
        return HASHER.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False
