"""Keeps claims equal to what servers need, beside the sagas: whatever took a record away or left one behind.

Mended is only what was wrong in two rounds in a row, and only while all that it was judged by still stands. A claim of
a server that this site has never had is not ours to judge: it is told of, and `kilonova placement audit` can end it.
"""

import asyncio
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Final

import structlog

from control.placement.reading import Reading
from control.placement.upkeep.audit import Orphan, give_back
from control.placement.upkeep.heal import Healing, heal, healing_of
from control.placement.upkeep.records import Records
from kv.keys import Cell
from kv.txn import Txn
from runtime import ambient
from schemas.errors import CompareFailed, KilonovaError, NotFound, StoreUnavailable
from schemas.shards import shard_of

log = structlog.get_logger()

AT_ONCE: Final = 100
PAUSE_SECONDS: Final = 0.05
"""between so many servers"""
MOST: Final = 200
"""mended in a round: more that is wrong at once is wrong in a way that somebody should look at first"""

Judgement = tuple[object, ...]


class Upkeep:
    """Looks after the servers of the `owned` shards. `days`: those of deletion at which a server may be remembered."""

    def __init__(
        self,
        records: Records,
        owned: Container[int],
        guard: Callable[[Txn, int], Txn],
        days: Callable[[], Sequence[str]],
        every: float,
    ) -> None:
        self._records = records
        self._owned = owned
        self._guard = guard
        self._days = days
        self._every = every
        self._wrong: dict[str, Judgement] = {}
        """what the last round found"""

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.look()
            except (StoreUnavailable, NotFound) as error:
                log.warning("claims not looked after", reason=error.message)

    async def look(self) -> int:
        """One round; how many servers' claims were mended."""
        before, self._wrong = self._wrong, {}
        mended = 0
        consumers = await self._records.consumers()
        for part in self._parts(consumers):
            for orphan in await self._records.orphans(part):
                mended += await self._again(before, orphan.server.uuid, _of(orphan), orphan, mended)
            await asyncio.sleep(PAUSE_SECONDS)
        claimed = set(consumers)
        providers = {host: mapping.uuid for host, mapping in (await self._records.mappings()).items()}
        for cell in sorted(self._records.cells.names()):
            try:
                hosted = await self._records.hosted(cell)
            except (StoreUnavailable, NotFound):
                continue  # nothing can be said of it
            for part in self._parts([uuid for uuid in hosted if uuid not in claimed]):
                for server in await self._records.servers(part):
                    plan = healing_of(server, providers, force=False)
                    if isinstance(plan, Healing):
                        mended += await self._again(before, server.uuid, _of(plan), plan, mended)
                await asyncio.sleep(PAUSE_SECONDS)
        return mended

    async def _again(
        self, before: dict[str, Judgement], uuid: str, judgement: Judgement, plan: Orphan | Healing, mended: int
    ) -> bool:
        """Whether it was mended: it was wrong in the same way before."""
        self._wrong[uuid] = judgement
        if before.get(uuid) != judgement or mended >= MOST:
            return False
        if isinstance(plan, Orphan) and plan.server.state == "none" and not await self._was_ours(uuid):
            log.warning("a claim of no server of this site", consumer=uuid, providers=plan.providers)
            return False

        def decide(reading: Reading) -> tuple[Txn, None]:
            now = ambient.now()
            txn = give_back(reading, plan, now) if isinstance(plan, Orphan) else heal(reading, plan, now)
            return self._guard(txn, shard_of(uuid)), None

        try:
            await self._records.writer.write(decide)
        except CompareFailed:
            return False  # it is being worked on
        except KilonovaError as error:
            log.warning("claims not mended", server=uuid, reason=error.message)
            return False
        log.warning("claims mended", server=uuid, was=plan.why if isinstance(plan, Orphan) else "it held nothing")
        return True

    async def _was_ours(self, uuid: str) -> bool:
        """A cell remembers that it was deleted."""
        for cell in self._records.cells.all():
            try:
                if any(await cell.store.read_all([Cell.DELETED(day, uuid) for day in self._days()])):
                    return True
            except StoreUnavailable:
                continue
        return False

    def _parts(self, uuids: Sequence[str]) -> Iterator[Sequence[str]]:
        own = [uuid for uuid in uuids if shard_of(uuid) in self._owned]
        for n in range(0, len(own), AT_ONCE):
            yield own[n : n + AT_ONCE]


def _of(plan: Orphan | Healing) -> Judgement:
    """What has to be the same in two rounds."""
    server = plan.server
    records = [stored.mod_revision if stored else 0 for stored in (server.mapping, server.allocation)]
    host = server.instance.host if server.instance else None
    return (*records, server.state, host, plan.providers if isinstance(plan, Orphan) else ())
