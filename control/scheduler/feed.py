"""Keeps the model current by watches: placement, aggregates, groups and host mappings at the top, hosts and their
liveness in the cells."""

import asyncio
from collections import Counter, defaultdict
from random import Random
from typing import Protocol

from attrs import define, evolve

from control.cells.registry import CellAccess, Cells
from control.placement.families import FamiliesFollower, providers_of, usages_of
from control.scheduler.model import Model
from kv.cache import Cache, Change
from kv.follow import Follower
from kv.keys import Cell, Global
from kv.store import Store
from kv.txn import Stored, Txn
from runtime.tasks import restarting
from schemas.aggregate import Aggregate
from schemas.errors import StoreUnavailable
from schemas.group import ServerGroup
from schemas.host import Alive, FailedBuilds, Host, HostMapping
from schemas.placement import Allocation, Provider


@define(eq=False)
class _CellFeed:
    hosts: Cache[Host]
    alive: Cache[Alive]
    tasks: list[asyncio.Task[None]]


class Stores(Protocol):
    """What is read: the global store and the cells. A Top is one."""

    @property
    def store(self) -> Store: ...

    @property
    def cells(self) -> Cells: ...


class Feed:
    """`with_servers`: the model is to know which servers are on each host, and of which images. `draw` orders equal
    hosts."""

    def __init__(self, top: Stores, *, with_servers: bool = False, draw: Random | None = None) -> None:
        self.model = Model(draw)
        self._cells_known = top.cells
        self._mappings = Cache(top.store, Global.HOSTS.under(), self._mapping)
        forest = self.model.forest
        providers = {s: evolve(f, set=self._provider) for s, f in providers_of(forest).items()}
        usages = {s: evolve(f, set=self.model.set_usages) for s, f in usages_of(forest).items()}
        self._providers = FamiliesFollower(top.store, Global.PROVIDERS.under(), providers, self._advanced)
        self._usages = FamiliesFollower(top.store, Global.USAGES.under(), usages, self._advanced)
        self._aggregates = Cache(top.store, Global.AGGREGATES.under(), self._aggregate)
        self._groups = Cache(top.store, Global.GROUPS.under(), self._group)
        self._caches: list[Follower] = [
            self._mappings,
            self._providers,
            self._usages,
            self._aggregates,
            self._groups,
        ]
        self._specs = Cache(top.store, Global.SPECS.under())
        if with_servers:
            self._caches += [self._specs, Cache(top.store, Global.ALLOCATIONS.under(), self._allocation)]
        self._servers: defaultdict[str, set[str]] = defaultdict(set)
        """by provider"""
        self._stale_aggregates = False
        self._cells: dict[str, _CellFeed] = {}
        self._silent_since: dict[str, float] = {}
        """by host that is known and not alive: the loop's time when that was seen"""
        top.cells.on_join.append(self._join)
        top.cells.on_leave.append(self._leave)

    def learn(self, txn: Txn) -> None:
        """What was just committed is in the model at once."""
        self._providers.learn(txn)
        self._usages.learn(txn)

    @property
    def ready(self) -> bool:
        return all(c.synced.is_set() for c in self._caches)

    async def until_ready(self) -> None:
        for cache in self._caches:
            await cache.synced.wait()

    async def until_cells_ready(self) -> None:
        """Returns when every cell that answers was listed once."""
        answering = self._cells_known.answering()
        for feed in [feed for name, feed in self._cells.items() if name in answering]:
            await feed.hosts.synced.wait()
            await feed.alive.synced.wait()

    def listed_cells(self) -> frozenset[str]:
        """Enabled cells that were listed, for who looks once and does not follow."""
        enabled = self._cells_known.enabled()
        listed = (n for n, f in self._cells.items() if f.hosts.synced.is_set() and f.alive.synced.is_set())
        return frozenset(listed) & enabled

    async def wait_until(self, revision: int) -> None:
        """Returns when the model holds every write to the global store up to this revision."""
        await asyncio.gather(*(cache.wait_until(revision) for cache in self._caches))

    async def is_current(self, revision: int, seconds: float) -> bool:
        """Whether the model holds, within so many seconds, every write to the global store up to this revision and all
        that each enabled cell that answers has written by now."""
        try:
            async with asyncio.timeout(seconds):
                cells = [self._cell_is_current(name) for name in self._cells_known.answering()]
                await asyncio.gather(self.wait_until(revision), *cells)
        except (TimeoutError, StoreUnavailable):
            return False
        return True

    async def _cell_is_current(self, name: str) -> None:
        feed = self._cells.get(name)
        if feed is None:
            return
        revision = await self._cells_known.store(name).revision()
        await asyncio.gather(feed.hosts.wait_until(revision), feed.alive.wait_until(revision))

    def usable_cells(self) -> frozenset[str]:
        """Enabled cells whose watches are alive: a cell that is not heard of takes nothing."""
        answering = self._cells_known.answering()
        return frozenset(
            n for n, f in self._cells.items() if n in answering and f.alive.connected and f.hosts.connected
        )

    def silent_for(self, seconds: float) -> frozenset[str]:
        """Hosts that have not been alive for as long as this process has followed them, and at least for so long."""
        until = asyncio.get_running_loop().time() - seconds
        return frozenset(host for host, since in self._silent_since.items() if since <= until)

    async def run(self) -> None:
        for name in self._cells_known.names():
            self._join(self._cells_known.access(name))
        try:
            async with asyncio.TaskGroup() as group:
                for cache in self._caches:
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
        failed = Cache(cell.store, Cell.FAILED_BUILDS.under(), self._failed)
        runs = [*(restarting(c.run, f"watch {name}") for c in (hosts, alive, failed)), cell.breaker.keep_probing()]
        tasks = [asyncio.create_task(run, name=f"watch {name}") for run in runs]
        self._cells[name] = _CellFeed(hosts, alive, tasks)

    def _leave(self, name: str) -> None:
        feed = self._cells.pop(name, None)
        for task in feed.tasks if feed else ():
            task.cancel()

    def _mapping(self, change: Change[HostMapping]) -> None:
        self.model.set_mapping(_last(change.key.path), change.new)

    def _provider(self, uuid: str, provider: Stored[Provider] | None, at: int | None) -> None:
        self.model.set_provider(uuid, provider, at)
        self._count_servers(uuid)

    def _advanced(self, _: int) -> None:
        self.model.forest.forget_deletions(min(self._providers.revision, self._usages.revision))

    def _aggregate(self, _: Change[Aggregate]) -> None:
        """A listing tells of many at once: they are taken together."""
        if not self._stale_aggregates:
            self._stale_aggregates = True
            asyncio.get_running_loop().call_soon(self._take_aggregates)

    def _take_aggregates(self) -> None:
        self._stale_aggregates = False
        self.model.set_aggregates(s.value for s in self._aggregates.items.values())

    def _group(self, change: Change[ServerGroup]) -> None:
        self.model.set_group(_last(change.key.path), change.new)

    def _allocation(self, change: Change[Allocation]) -> None:
        consumer = _last(change.key.path)
        before = set(change.old.value.resources) if change.old else set()
        after = set(change.new.value.resources) if change.new else set()
        for uuid in before - after:
            self._servers[uuid].discard(consumer)
        for uuid in after - before:
            self._servers[uuid].add(consumer)
        for uuid in before ^ after:
            self._count_servers(uuid)

    def _count_servers(self, provider: str) -> None:
        state = self.model.of_provider(provider)
        if state is None or not (self._servers[provider] or state.servers):
            return
        specs = (self._specs.get(Global.SPECS(server)) for server in self._servers[provider])
        images = Counter(pair for spec in specs if spec and spec.image for pair in spec.image.properties.items())
        self.model.set_servers(state.host, frozenset(self._servers[provider]), images)

    def _host(self, change: Change[Host]) -> None:
        name = _last(change.key.path)
        self.model.set_facts(name, change.new.value.facts if change.new else None)
        if change.new is None:
            self._silent_since.pop(name, None)
        elif not self.model.is_alive(name):
            self._silent_since.setdefault(name, asyncio.get_running_loop().time())

    def _failed(self, change: Change[FailedBuilds]) -> None:
        self.model.set_failed_builds(_last(change.key.path), change.new.value.count if change.new else 0)

    def _alive(self, change: Change[Alive]) -> None:
        host, alive = _last(change.key.path), change.new is not None and not change.new.value.unready
        self.model.set_alive(host, alive)
        if alive:
            self._silent_since.pop(host, None)
        else:
            self._silent_since.setdefault(host, asyncio.get_running_loop().time())


def _last(path: str) -> str:
    return path.rsplit("/", 1)[1]
