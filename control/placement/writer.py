"""The one way in which placement's records are changed: decide, commit guarded, decide again when the world moved on.

A decision is a pure function of a Reading. Its first attempt stands on the watched view without reading anything: the
transaction's compares prove that the view was right. A refusal, or a decision that writes nothing, proves nothing, so
it is taken again on a linearizable read of the same records before anybody is told. Writers of one process that are
about the same provider take turns, so that they can lose only to other processes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from attrs import define, field

from control.placement.reading import Known, NotRead, Reading
from kv.store import Store
from kv.txn import Stored, Txn
from schemas.errors import CompareFailed, ConcurrentUpdate, KilonovaError

T = TypeVar("T")

Decide = Callable[[Reading], tuple[Txn, T]]
"""A transaction and what its caller wants to know; raises what refuses it."""

FIRST_PAUSE: Final = 0.001
"""seconds before the second attempt after a lost one, doubled each time up to LONGEST_PAUSE"""
LONGEST_PAUSE: Final = 0.05


@define(eq=False)
class _Turn:
    lock: asyncio.Lock = field(factory=asyncio.Lock)
    users: int = 0


class Writer:
    """`known` None: every decision reads what it asks for. `retries`: how often a lost decision is taken again."""

    def __init__(self, store: Store, known: Known | None = None, retries: int = 10) -> None:
        self.store = store
        self._known = known
        self._retries = retries
        self._turns: dict[str, _Turn] = {}

    async def write(self, decide: Decide[T], lanes: Iterable[str] = ()) -> T:
        """What `decide` answers once its transaction is committed. `lanes` name what others may be writing too, such
        as providers. Raises what `decide` raises, ConcurrentUpdate after too many lost attempts, UnknownOutcome when
        it may or may not have been written."""
        async with self._in_turn(lanes):
            reading = Reading(self._known)
            lost = 0
            while True:
                try:
                    txn, answer = decide(reading)
                except NotRead:
                    reading = await self._read(reading)
                    continue
                except KilonovaError:
                    if reading.fresh:
                        raise
                    reading = await self._read(reading)
                    continue
                if not txn.writes and not reading.fresh:
                    reading = await self._read(reading)
                    continue
                if not txn.writes:
                    return answer
                try:
                    await self.store.commit(txn)
                except CompareFailed:
                    lost += 1
                    if lost > self._retries:
                        raise ConcurrentUpdate(
                            "Another thread concurrently updated the data. Please retry your update"
                        ) from None
                    if lost > 1:
                        await asyncio.sleep(min(FIRST_PAUSE * 2**lost, LONGEST_PAUSE))
                    reading = await self._read(reading)
                    continue
                if self._known is not None:
                    self._known.learn(txn)
                return answer

    async def _read(self, reading: Reading) -> Reading:
        """The same records as of now."""
        keys = list(reading.asked.values())
        found: list[Stored[Any] | None] = await self.store.read_all(keys)
        return Reading(self._known, {key.path: stored for key, stored in zip(keys, found, strict=True)})

    @asynccontextmanager
    async def _in_turn(self, lanes: Iterable[str]) -> AsyncIterator[None]:
        names = sorted(set(lanes))  # in one order everywhere, so that nobody waits in a circle
        turns = []
        for name in names:
            turn = self._turns.setdefault(name, _Turn())
            turn.users += 1
            turns.append(turn)
        held = 0
        try:
            for turn in turns:
                await turn.lock.acquire()
                held += 1
            yield
        finally:
            for turn in turns[:held]:
                turn.lock.release()
            for name, turn in zip(names, turns, strict=True):
                turn.users -= 1
                if not turn.users:
                    del self._turns[name]
