"""A bounded queue in front of few workers, fair to sources, and within a source to accounts."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from attrs import define, field

from schemas.errors import TooManyRequests, Unavailable

Bucket = deque[asyncio.Future[None]]
Buckets = OrderedDict[str, Bucket]
"""of one source, by account, the one whose turn is next first; none is empty"""


@define(eq=False)
class FairQueue:
    """Sources take turns, and the accounts of a source do: who sends much waits for himself.

    When a source has `per_source` waiting, or all have `waiting`, room is made by refusing the newest of whoever has
    most waiting, which may be the newcomer.
    """

    at_once: int
    waiting: int
    per_source: int
    seconds: float
    """that one waits at most"""
    _running: int = 0
    _sources: OrderedDict[str, Buckets] = field(factory=OrderedDict)

    @asynccontextmanager
    async def turn(self, source: str, account: str) -> AsyncIterator[None]:
        """Held by at most `at_once` at a time.

        Raises:
            TooManyRequests: The source has too many waiting.
            Unavailable: All have, or the turn did not come in time.
        """
        if self._running < self.at_once:
            self._running += 1
        else:
            await self._wait(source, account)
        try:
            yield
        finally:
            self._pass_on()

    @property
    def length(self) -> int:
        return sum(map(_length, self._sources.values()))

    async def _wait(self, source: str, account: str) -> None:
        self._make_room(source, account)
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sources.setdefault(source, OrderedDict()).setdefault(account, deque()).append(mine)
        try:
            async with asyncio.timeout(self.seconds):
                await mine
        except BaseException as error:
            if mine.done() and not mine.cancelled() and mine.exception() is None:
                self._pass_on()  # the turn came together with the end
            else:
                self._remove(source, account, mine)
            if isinstance(error, TimeoutError):
                raise _too_many_in_all() from error
            raise

    def _make_room(self, source: str, account: str) -> None:
        own = self._sources.get(source, OrderedDict())
        if _length(own) >= self.per_source:
            self._refuse(source, len(own.get(account, ())), TooManyRequests(_TOO_MANY, 2))
        elif self.length >= self.waiting:
            largest = max(self._sources, key=lambda name: _length(self._sources[name]))
            if _length(self._sources[largest]) <= _length(own) + 1:
                raise _too_many_in_all()
            self._refuse(largest, -1, _too_many_in_all())

    def _refuse(self, source: str, newcomers: int, error: Exception) -> None:
        """The newest of the account with most waiting. Raises `error` when the newcomer's has as many."""
        buckets = self._sources[source]
        account = max(buckets, key=lambda name: len(buckets[name]))
        if len(buckets[account]) <= newcomers + 1:
            raise error
        refused = buckets[account][-1]
        self._remove(source, account, refused)
        if not refused.done():
            refused.set_exception(error)

    def _remove(self, source: str, account: str, one: "asyncio.Future[None]") -> None:
        buckets = self._sources.get(source, OrderedDict())
        bucket = buckets.get(account, deque())
        if one not in bucket:
            return
        bucket.remove(one)
        if not bucket:
            del buckets[account]
        if not buckets:
            del self._sources[source]

    def _pass_on(self) -> None:
        """To the next of the next account of the next source."""
        while self._sources:
            source, buckets = self._sources.popitem(last=False)
            account, bucket = buckets.popitem(last=False)
            next_one = bucket.popleft()
            if bucket:
                buckets[account] = bucket
            if buckets:
                self._sources[source] = buckets
            if not next_one.done():
                next_one.set_result(None)
                return
        self._running -= 1


_TOO_MANY = "Too many log-ins of this source wait already: try again in a few seconds."


def _too_many_in_all() -> Unavailable:
    return Unavailable("Too many log-ins at once: try again in a few seconds.")


def _length(buckets: Buckets) -> int:
    return sum(map(len, buckets.values()))
