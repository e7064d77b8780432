"""Keeps claims equal to what servers need, beside the sagas: whatever took a record away or left one behind.

Mended is only what was wrong in two rounds in a row, and only while all that it was judged by still stands. A claim of
a server that this site has never had is not ours to judge: it is told of, and `kilonova placement audit` can end it.
"""

import asyncio
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Final

import structlog

from control.cells.registry import CellAccess
from control.placement.reading import Reading
from control.placement.upkeep.audit import Orphan, give_back
from control.placement.upkeep.heal import Healing, heal, healing_of
from control.placement.upkeep.records import CELL_SECONDS, Records
from control.placement.upkeep.windows import WINDOWS, ids_of, shard_of_window
from kv.keys import Cell, Global
from kv.txn import Txn
from runtime import ambient
from schemas.errors import CompareFailed, KilonovaError, NotFound, StoreUnavailable

log = structlog.get_logger()

AT_ONCE: Final = 100
PAUSE_SECONDS: Final = 0.05
"""between so many servers"""
MOST_KEPT: Final = 10_000
"""servers that are remembered as wrong from one round to the next"""
MOST: Final = 200
"""mended in a round: more that is wrong at once is wrong in a way that somebody should look at first"""

Judgement = tuple[object, ...]


class Upkeep:
    """Looks after the windows of servers' ids of the `owned` shards: it reads no others. `days`: those of deletion at
    which a server may be remembered."""

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
        """what the last round found, of so many at most"""
        self._silent: set[str] = set()
        """cells that did not answer in this round: it waits for each of them once"""

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.look()
            except (StoreUnavailable, NotFound) as error:
                log.warning("claims not looked after", reason=error.message)
            except Exception:
                log.exception("claims not looked after")

    async def look(self) -> int:
        """One round; how many servers' claims were mended."""
        before, self._wrong = self._wrong, {}
        self._silent = set()
        mended = 0
        for window in range(WINDOWS):
            if shard_of_window(window) in self._owned:
                mended = await self._look_at(window, before, mended)
        if self._silent:
            log.warning("servers of cells that do not answer not looked after", cells=sorted(self._silent))
        return mended

    async def _look_at(self, window: int, before: dict[str, Judgement], mended: int) -> int:
        """The claims of a window, and its servers that have none."""
        shard, records = shard_of_window(window), self._records
        claimed: set[str] = set()
        async for consumers in ids_of(records.store, Global.ALLOCATIONS, window):
            claimed.update(consumers)
            for part in _parts(consumers):
                for orphan in await records.orphans(part, silent=self._silent):
                    mended += await self._again(before, shard, _of(orphan), orphan, mended)
                await asyncio.sleep(PAUSE_SECONDS)
        async for servers in ids_of(records.store, Global.INSTANCES, window):
            for part in _parts([uuid for uuid in servers if uuid not in claimed]):
                lacking = await records.servers(part, self._silent)
                hosts = {s.instance.host for s in lacking if s.instance and s.instance.host}
                providers = await records.nodes(sorted(hosts))
                for server in lacking:
                    plan = healing_of(server, providers, force=False)
                    if isinstance(plan, Healing):
                        mended += await self._again(before, shard, _of(plan), plan, mended)
                await asyncio.sleep(PAUSE_SECONDS)
        return mended

    async def _again(
        self, before: dict[str, Judgement], shard: int, judgement: Judgement, plan: Orphan | Healing, mended: int
    ) -> bool:
        """Whether it was mended: it was wrong in the same way before. `shard`: of whoever looks after it."""
        uuid = plan.server.uuid
        if len(self._wrong) < MOST_KEPT:
            self._wrong[uuid] = judgement
        if before.get(uuid) != judgement or mended >= MOST:
            return False
        if isinstance(plan, Orphan) and plan.server.state == "none" and not await self._was_ours(uuid):
            log.warning("a claim of no server of this site", consumer=uuid, providers=plan.providers)
            return False

        def decide(reading: Reading) -> tuple[Txn, None]:
            now = ambient.now()
            txn = give_back(reading, plan, now) if isinstance(plan, Orphan) else heal(reading, plan, now)
            return self._guard(txn, shard), None

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

        async def remembers(cell: CellAccess) -> bool:
            try:
                async with asyncio.timeout(CELL_SECONDS):
                    return any(await cell.store.read_all([Cell.DELETED(day, uuid) for day in self._days()]))
            except (StoreUnavailable, TimeoutError):
                self._silent.add(cell.mapping.name)
                return False

        asked = [cell for cell in self._records.cells.all() if cell.mapping.name not in self._silent]
        return any(await asyncio.gather(*(remembers(cell) for cell in asked)))


def _parts(uuids: Sequence[str]) -> Iterator[Sequence[str]]:
    for n in range(0, len(uuids), AT_ONCE):
        yield uuids[n : n + AT_ONCE]


def _of(plan: Orphan | Healing) -> Judgement:
    """What has to be the same in two rounds."""
    server = plan.server
    records = [stored.mod_revision if stored else 0 for stored in (server.mapping, server.allocation)]
    host = server.instance.host if server.instance else None
    return (*records, server.state, host, plan.providers if isinstance(plan, Orphan) else ())
