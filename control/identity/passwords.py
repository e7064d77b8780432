"""Passwords: argon2id in threads that take a share of the processors, whoever asks how often.

Hashing waits in a fair queue (`control.identity.queue`), so that a storm of log-ins costs neither memory nor the event
loop, and those of one source wait for each other only.
"""

import asyncio
import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError

from control.identity.queue import FairQueue

T = TypeVar("T")

HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
"""OWASP's first choice for argon2id: 19 MiB, two passes, one lane"""
WAITING: Final = 512
WAITING_PER_SOURCE: Final = 64
"""at most about two seconds of one thread's work"""
WAIT_SECONDS: Final = 20.0
LONGEST_PASSWORD: Final = 4096
"""characters; what is longer is no password of anybody"""


class Passwords:
    """One a process. `share`: of the processors that hashing may use, at least one thread."""

    def __init__(self, share: float = 0.5) -> None:
        at_once = max(1, int((os.cpu_count() or 1) * share))
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="argon2")
        self.queue = FairQueue(at_once, WAITING, WAITING_PER_SOURCE, WAIT_SECONDS)
        self._stand_in: str = HASHER.hash(secrets.token_urlsafe(32))
        """compared with where there is no hash, so that the answer takes as long; nobody knows its password"""

    async def hash(self, password: str, source: str = "") -> str:
        """`source` shares one queue, as in `matches`."""
        async with self.queue.turn(source, ""):
            return await self._in_thread(partial(HASHER.hash, password))

    async def matches(self, stored: str | None, password: str, source: str = "", account: str = "") -> bool:
        """Whether `stored` is the hash of the password. False, after as long a time, for what is no hash.

        `stored` is None where the account does not exist, empty where it has no password.
        """
        async with self.queue.turn(source, account):
            return await self.matches_now(stored, password)

    async def matches_now(self, stored: str | None, password: str) -> bool:
        """As `matches`, for a caller that has its turn."""
        usable = stored if stored and _is_hash(stored) else None
        same = await self._in_thread(partial(_verify, usable or self._stand_in, password[:LONGEST_PASSWORD]))
        return same and usable is not None and len(password) <= LONGEST_PASSWORD

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _is_hash(stored: str) -> bool:
    try:
        extract_parameters(stored)
    except (InvalidHashError, ValueError):
        return False
    return True


def _verify(stored: str, password: str) -> bool:
    try:
        return HASHER.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False
