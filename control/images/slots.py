"""Uploads that are under way in this process: so many in all and of one project, each for so long."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from attrs import define, field

from schemas.errors import TooManyRequests, Unavailable


@define(eq=False)
class UploadSlots:
    in_all: int
    per_project: int
    seconds: float
    """until an upload's bytes must have come"""
    _taken: Counter[str] = field(factory=Counter)

    @asynccontextmanager
    async def one(self, project: str) -> AsyncIterator[None]:
        """Held while bytes come in.

        Raises:
            TooManyRequests: The project uploads as much as it may at once.
            Unavailable: All projects do, or the bytes did not come in time.
        """
        if self._taken[project] >= self.per_project:
            raise TooManyRequests(f"The project has {self.per_project} uploads under way: try again later.", 30)
        if self._taken.total() >= self.in_all:
            raise Unavailable(f"{self.in_all} uploads are under way: try again later.")
        self._taken[project] += 1
        try:
            async with asyncio.timeout(self.seconds):
                yield
        except TimeoutError as error:
            raise Unavailable(f"The upload took longer than {self.seconds:g} seconds.") from error
        finally:
            self._taken[project] -= 1
            if not self._taken[project]:
                del self._taken[project]
