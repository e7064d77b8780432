"""Keeps the model current by watches: placement and host mappings at the top, hosts and their liveness in the cells."""

import asyncio

from attrs import define

from control.cells.registry import CellAccess
from control.scheduler.model import Model
from control.top import Top
from kv.cache import Cache, Change
from kv.keys import Cell, Global
from schemas.host import Alive, Host, HostMapping
from schemas.placement import Provider, Usages


@define(eq=False)
class _CellFeed:
    hosts: Cache[Host]
    alive: Cache[Alive]
    tasks: list[asyncio.Task[None]]


class Feed:
    def __init__(self, top: Top) -> None:
        self.model = Model()
        self._top = top
        self._mappings = Cache(top.store, Global.HOSTS.under(), self._mapping)
        self._providers = Cache(top.store, Global.PROVIDERS.under(), self._provider)
        self._usages = Cache(top.store, Global.USAGES.under(), self._usage)
        self._cells: dict[str, _CellFeed] = {}
        top.cells.on_join.append(self._join)
        top.cells.on_leave.append(self._leave)

    @property
    def ready(self) -> bool:
        return all(c.synced.is_set() for c in (self._mappings, self._providers, self._usages))

    async def until_ready(self) -> None:
        for cache in (self._mappings, self._providers, self._usages):
            await cache.synced.wait()

    def usable_cells(self) -> frozenset[str]:
        """Enabled cells whose watches are alive: a cell that is not heard of takes nothing."""
        enabled = self._top.cells.enabled()
        return frozenset(n for n, f in self._cells.items() if n in enabled and f.alive.connected and f.hosts.connected)

    async def run(self) -> None:
        for name in self._top.cells.names():
            self._join(self._top.cells.access(name))
        try:
            async with asyncio.TaskGroup() as group:
                for cache in (self._mappings, self._providers, self._usages):
                    group.create_task(cache.run())
        finally:
            for name in list(self._cells):
                self._leave(name)

    def _join(self, cell: CellAccess) -> None:
        name = cell.mapping.name
        if name in self._cells or cell.mapping.bus is None:
            return
        hosts = Cache(cell.store, Cell.HOSTS.under(), self._host)
        alive = Cache(cell.store, Cell.ALIVE.under(), self._alive)
        tasks = [asyncio.create_task(c.run(), name=f"watch {name}") for c in (hosts, alive)]
        self._cells[name] = _CellFeed(hosts, alive, tasks)

    def _leave(self, name: str) -> None:
        feed = self._cells.pop(name, None)
        for task in feed.tasks if feed else ():
            task.cancel()

    def _mapping(self, change: Change[HostMapping]) -> None:
        self.model.set_mapping(_last(change.key.path), change.new)

    def _provider(self, change: Change[Provider]) -> None:
        uuid = _last(change.key.path)
        self.model.set_provider(uuid, change.new)
        usages = self._usages.items.get(Global.USAGES(uuid).path)
        if usages is not None:  # it may have come before its provider
            self.model.set_usages(uuid, usages)

    def _usage(self, change: Change[Usages]) -> None:
        self.model.set_usages(_last(change.key.path), change.new)

    def _host(self, change: Change[Host]) -> None:
        self.model.set_facts(_last(change.key.path), change.new.value.facts if change.new else None)

    def _alive(self, change: Change[Alive]) -> None:
        self.model.set_alive(_last(change.key.path), change.new is not None)


def _last(path: str) -> str:
    return path.rsplit("/", 1)[1]
