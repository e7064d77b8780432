"""Hosts that report in a cell become host mappings and providers at the top, by themselves."""

import asyncio
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Final

import structlog
from attrs import evolve

from control.cells.aggregates import mirror_host
from control.cells.registry import CellAccess
from control.placement.reading import Reading
from control.placement.resources import offered_by
from control.placement.writer import Writer
from control.placement.writes.hosts import Report, report
from control.top import Top
from kv.follow import Follower
from kv.keys import Cell, Global, unquoted
from kv.shards import Shards
from kv.store import Store
from kv.txn import Txn
from runtime import ambient
from runtime.tasks import restarting
from schemas.errors import CompareFailed, KilonovaError, UnreadableRecord
from schemas.host import Host, HostMapping
from schemas.shards import shard_of

log = structlog.get_logger()

RETRY_SECONDS: Final = 0.5
AGAIN_SECONDS: Final = 3600.0
"""after which every host is looked at, though nothing was heard of it"""


class _HostNames(Follower):
    """Which hosts a cell has, and since when each is as it is; what they report is read when it is needed."""

    def __init__(self, store: Store, on_change: Callable[[str], None]) -> None:
        super().__init__(store, Cell.HOSTS.under())
        self.revisions: dict[str, int] = {}
        """by path"""
        self._on_change = on_change

    def held(self) -> Collection[str]:
        return self.revisions.keys()

    def names(self) -> list[str]:
        return [_name(path) for path in self.revisions]

    def take(self, path: str, kv: Any, revision: int) -> None:
        if kv is None:
            self.revisions.pop(path, None)
        elif self.revisions.get(path) != revision:
            self.revisions[path] = revision
            self._on_change(_name(path))


class HostSync:
    """Follows `hosts/` of every cell; writes for the hosts whose shard is ours."""

    def __init__(self, top: Top, shards: Shards) -> None:
        self._shards = shards
        self._top = top
        self._writer = Writer(top.store, retries=2)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._known: dict[str, _HostNames] = {}
        """by cell"""
        self._stale: set[tuple[str, str]] = set()
        """(cell, host) whose provider has to be looked at"""
        self._news = asyncio.Event()

    async def run(self) -> None:
        self._top.cells.on_join.append(self._join)
        self._top.cells.on_leave.append(self._leave)
        for name in self._top.cells.names():
            self._join(self._top.cells.access(name))
        again = asyncio.create_task(restarting(self._look_again, "hosts again"))
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                await self._catch_up()
        finally:
            for task in (again, *self._tasks.values()):
                task.cancel()

    async def _look_again(self) -> None:
        """Now and then at each host of the owned shards: whatever took a mapping or a provider away gets it back."""
        while True:
            await asyncio.sleep(AGAIN_SECONDS)
            for shard in list(self._shards.fences):
                self.wake_shard(shard)

    def wake_shard(self, shard: int) -> None:
        for cell, known in self._known.items():
            for name in known.names():
                if shard_of(name) == shard:
                    self._mark(cell, name)

    async def _catch_up(self) -> None:
        for cell, name in sorted(self._stale):
            if shard_of(name) not in self._shards.fences:
                self._stale.discard((cell, name))
                continue
            try:
                host = await self._host(cell, name)
                if host is not None:
                    await self._sync(cell, host)
                self._stale.discard((cell, name))
            except CompareFailed:
                self._news.set()
            except UnreadableRecord as error:  # looked at again when it is written again
                self._stale.discard((cell, name))
                log.error("host not mapped", host=name, cell=cell, reason=error.message)
            except KilonovaError as error:
                log.warning("host not mapped yet", host=name, cell=cell, reason=error.message)
                asyncio.get_running_loop().call_later(RETRY_SECONDS, self._news.set)

    async def _host(self, cell: str, name: str) -> Host | None:
        """None for one that is gone, or of a cell that is."""
        known = self._known.get(cell)
        path = Cell.HOSTS(name).path
        if known is None or path not in known.revisions:
            return None
        stored = await self._top.cells.store(cell).get(Cell.HOSTS(name))
        return stored.value if stored else None

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
        if shard_of(host) in self._shards.fences:
            self._stale.add((cell, host))
            self._news.set()

    def _join(self, cell: CellAccess) -> None:
        name = cell.mapping.name
        if name in self._tasks or cell.mapping.bus is None:
            return
        known = self._known[name] = _HostNames(cell.store, partial(self._mark, name))
        self._tasks[name] = asyncio.create_task(restarting(known.run, f"hosts of {name}"))

    def _leave(self, name: str) -> None:
        task = self._tasks.pop(name, None)
        self._known.pop(name, None)
        if task:
            task.cancel()


def _name(path: str) -> str:
    return unquoted(path.rsplit("/", 1)[1])
