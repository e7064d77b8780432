"""Hosts that report in a cell become host mappings and providers at the top, by themselves."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from attrs import evolve

from control.cells.aggregates import mirror_host
from control.cells.registry import CellAccess
from control.placement.reading import Reading
from control.placement.resources import offered_by
from control.placement.writer import Writer
from control.placement.writes.hosts import Report, report
from control.top import Top
from kv.cache import Cache, Change
from kv.keys import Cell, Global
from kv.shards import Shards
from kv.txn import Txn
from runtime import ambient
from schemas.errors import CompareFailed, KilonovaError
from schemas.host import Host, HostMapping
from schemas.shards import shard_of

log = structlog.get_logger()

RETRY_SECONDS: Final = 0.5


class HostSync:
    """Follows `hosts/` of every cell; writes for the hosts whose shard is ours."""

    def __init__(self, top: Top, shards: Shards) -> None:
        self._shards = shards
        self._top = top
        self._writer = Writer(top.store, retries=2)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._caches: dict[str, Cache[Host]] = {}
        self._stale: set[tuple[str, str]] = set()
        """(cell, host) whose provider has to be looked at"""
        self._news = asyncio.Event()

    async def run(self) -> None:
        self._top.cells.on_join.append(self._join)
        self._top.cells.on_leave.append(self._leave)
        for name in self._top.cells.names():
            self._join(self._top.cells.access(name))
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                await self._catch_up()
        finally:
            for task in self._tasks.values():
                task.cancel()

    def wake_shard(self, shard: int) -> None:
        for cell, cache in self._caches.items():
            for stored in cache.items.values():
                if shard_of(stored.value.host) == shard:
                    self._mark(cell, stored.value.host)

    async def _catch_up(self) -> None:
        for cell, name in sorted(self._stale):
            if shard_of(name) not in self._shards.fences:
                self._stale.discard((cell, name))
                continue
            cache = self._caches.get(cell)
            host = cache.get(Cell.HOSTS(name)) if cache else None
            try:
                if host is not None:
                    await self._sync(cell, host)
                self._stale.discard((cell, name))
            except CompareFailed:
                self._news.set()
            except KilonovaError as error:
                log.warning("host not mapped yet", host=name, cell=cell, reason=error.message)
                asyncio.get_running_loop().call_later(RETRY_SECONDS, self._news.set)

    async def _sync(self, cell: str, host: Host) -> None:
        """Makes or updates mapping, provider and usages; writes nothing when they are right."""
        said = Report(
            uuid=host.uuid,
            name=host.facts.hypervisor_hostname,
            host=host.host,
            cell=cell,
            inventories=offered_by(host.facts, self._top.settings.scheduler),
            traits=host.facts.traits,
        )

        def decide(reading: Reading) -> tuple[Txn, bool]:
            txn = report(reading, said, ambient.now())
            mapping = reading.get(Global.HOSTS(host.host))
            if mapping is None:
                txn.create(Global.HOSTS(host.host), HostMapping(host.host, cell, host.uuid))
            elif mapping.value.cell != cell:
                log.error("host reports in two cells", host=host.host, cells=[mapping.value.cell, cell])
                return Txn("map host"), False
            elif mapping.value.uuid != host.uuid:
                txn.replace(mapping, evolve(mapping.value, uuid=host.uuid))
            changed = bool(txn.writes)
            return (self._shards.guard(txn, shard_of(host.host)) if changed else txn), changed

        if await self._writer.write(decide, ahead=[Global.HOSTS(host.host), *said.keys]):
            await mirror_host(self._top, host.host)
            log.info("host mapped", host=host.host, cell=cell, at=ambient.now().isoformat())

    def _mark(self, cell: str, host: str) -> None:
        self._stale.add((cell, host))
        self._news.set()

    def _changed(self, cell: str) -> Callable[[Change[Host]], None]:
        return lambda change: self._mark(cell, change.new.value.host) if change.new else None

    def _join(self, cell: CellAccess) -> None:
        name = cell.mapping.name
        if name in self._tasks or cell.mapping.bus is None:
            return
        self._caches[name] = Cache(cell.store, Cell.HOSTS.under(), self._changed(name))
        self._tasks[name] = asyncio.create_task(self._caches[name].run(), name=f"hosts of {name}")

    def _leave(self, name: str) -> None:
        task = self._tasks.pop(name, None)
        self._caches.pop(name, None)
        if task:
            task.cancel()
