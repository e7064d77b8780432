"""What guests do by themselves, told until it was taken note of: the latest of each guest, and nothing twice."""

import asyncio
from collections.abc import Awaitable, Callable, Container
from typing import Final

from schemas.guest import GuestState

PAUSE_SECONDS: Final = 1.0
"""before what was not taken note of, or waits for a job of its guest, is told again"""


class Changes:
    """`tell` says one and returns whether it was taken note of; guests that are `busy` wait for their job's report."""

    def __init__(self, tell: Callable[[GuestState], Awaitable[bool]], busy: Callable[[str], bool]) -> None:
        self._tell = tell
        self._busy = busy
        self._waiting: dict[str, GuestState] = {}
        self._known: dict[str, GuestState] = {}
        """what the records know of each guest"""
        self._news = asyncio.Event()

    def note(self, state: GuestState) -> None:
        self._waiting[state.server] = state
        self._news.set()

    def known(self, state: GuestState) -> None:
        """A job's report, which was applied, has said this: the driver's word of the same need not be told again. A
        halt is told apart: no operation's end is decided on it."""
        if not state.halted:
            self._known[state.server] = state

    def keep(self, servers: Container[str]) -> None:
        """What the records know of other servers is forgotten, so that it is told anew."""
        self._known = {server: state for server, state in self._known.items() if server in servers}

    async def run(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            waiting, self._waiting = self._waiting, {}
            for server, state in waiting.items():
                if self._known.get(server) == state:
                    continue
                if not self._busy(server) and await self._tell(state):
                    self._known[server] = state
                else:
                    self._waiting.setdefault(server, state)
            if self._waiting:
                await asyncio.sleep(PAUSE_SECONDS)
                self._news.set()
