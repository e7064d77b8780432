"""What may go wrong between a process and etcd, decided by whoever simulates.

A `Twin` awaits `before` and `after` around each call; both may take their time, and say by an exception that the call
does not go well. The names of calls are range, read, txn, grant, revoke, keepalive and watch; on the two streams
`before` sees each request on its way out and `after` each answer on its way in.

    raised from   exception        what happens
    before        Lost             not applied; the caller learns that the connection broke; a stream is lost
    before        Late(seconds)    the caller's call times out; it is applied after so many seconds all the same
    after         Lost             applied, and the answer is lost; a stream is lost
    either        a KilonovaError  the caller gets it, such as StoreFull

What takes longer than the twin's time-out ends as a time-out: in `before` nothing was applied, in `after` all was.
A write that ends in one of these ways raises UnknownOutcome, a read StoreUnavailable.
"""

import asyncio
from random import Random
from typing import Any

from attrs import frozen


class Lost(Exception):
    """The connection broke."""


class Late(Exception):
    """The request arrives long after its caller gave up. On a stream, where order is kept, it is Lost."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Faults:
    """None: every call goes well."""

    async def before(self, call: str, request: Any) -> None:
        pass

    async def after(self, call: str, answer: Any) -> None:
        pass


@frozen
class Odds:
    """Chances from 0 to 1 of each call, and the longest times in seconds."""

    lost_before: float = 0.0
    lost_after: float = 0.0
    late: float = 0.0
    slow: float = 0.0
    usual_delay: float = 0.001
    slow_delay: float = 1.0
    late_delay: float = 10.0


class RandomFaults(Faults):
    """The same seed and the same calls give the same faults."""

    def __init__(self, random: Random, odds: Odds) -> None:
        self.odds = odds
        self._random = random

    async def before(self, call: str, request: Any) -> None:
        await self._delay()
        if self._happens(self.odds.lost_before):
            raise Lost
        if self._happens(self.odds.late):
            raise Late(self._random.uniform(0, self.odds.late_delay))

    async def after(self, call: str, answer: Any) -> None:
        await self._delay()
        if self._happens(self.odds.lost_after):
            raise Lost

    async def _delay(self) -> None:
        longest = self.odds.slow_delay if self._happens(self.odds.slow) else self.odds.usual_delay
        await asyncio.sleep(self._random.uniform(0, longest))

    def _happens(self, chance: float) -> bool:
        return chance > 0 and self._random.random() < chance
