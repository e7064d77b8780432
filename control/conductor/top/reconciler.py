"""Keeps the records around servers as their mappings say, beside the sagas: the lists' lines, request specs, charges,
members of groups and the indexes of hosts.

As with claims, a record is mended only when it was wrong in the same way in two rounds, and only while all that it was
judged by still stands; a server with an operation is left alone. A record of a host that no agent reports any more is
logged: removing a host is an operator's decision.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterable, Sequence
from functools import partial
from typing import Any, Final

import structlog
from attrs import frozen

from control.conductor.top.fences import CellFences
from control.placement.upkeep.records import CELL_SECONDS
from control.placement.upkeep.windows import WINDOWS, shard_of_window, window_of
from control.servers.draft import ServerDraft
from control.servers.expansion import KIND as MULTI_CREATE
from control.servers.expansion import uuid_at
from control.servers.find import key_in_cell
from control.servers.quota import charge_of
from control.servers.reconcile import (
    AtTop,
    Repair,
    charge_of_all,
    charge_repair,
    host_line_repair,
    instance_key_of,
    line_keys,
    lost_members,
    server_repairs,
    stray_host_line,
    stray_line,
)
from control.top import Top
from kv.keys import Cell, Family, Global, Key
from kv.txn import Stored, Txn
from schemas.codec import from_dict
from schemas.errors import CompareFailed, KilonovaError, NotFound, StoreUnavailable
from schemas.host import HostMapping
from schemas.operation import Operation
from schemas.server import InstanceMapping, ServerIndex
from schemas.shards import shard_of

log = structlog.get_logger()

EVERY_SECONDS: Final = 3600.0
PAGE: Final = 500
PAUSE_SECONDS: Final = 0.02
"""between so many records"""
MOST: Final = 200
"""mended in a round: more that is wrong at once is wrong in a way that somebody should look at first"""
MOST_KEPT: Final = 10_000
"""records that are remembered as wrong from one round to the next"""


@frozen(eq=False)
class _Finding:
    repair: Repair
    shard: int
    cell: str | None = None
    """None: the record is in the global store"""


class Reconciler:
    """Looks after the records of the `owned` shards; `guard` adds the fence of one to a transaction at the top."""

    def __init__(
        self,
        top: Top,
        owned: Container[int],
        guard: Callable[[Txn, int], Txn],
        fences: CellFences,
        every: float = EVERY_SECONDS,
    ) -> None:
        self._top = top
        self._owned = owned
        self._guard = guard
        self._fences = fences
        self._every = every
        self._wrong: dict[str, tuple[object, ...]] = {}
        """what the last round found, by cell and path"""
        self._silent: set[str] = set()
        """cells that did not answer in this round"""

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.look()
            except KilonovaError as error:
                log.warning("records not looked after", reason=error.message)
            except Exception:
                log.exception("records not looked after")

    async def look(self) -> int:
        """One round; how many records were mended."""
        before, self._wrong = self._wrong, {}
        self._silent = set()
        mended = 0
        for part in (self._servers, self._lines, self._groups, self._charges, self._hosts):
            async for finding in part():
                place = f"{finding.cell or ''} {finding.repair.what}"
                if len(self._wrong) < MOST_KEPT:
                    self._wrong[place] = finding.repair.judgement
                if before.get(place) == finding.repair.judgement and mended < MOST:
                    mended += await self._mend(finding)
        return mended

    async def _mend(self, finding: _Finding) -> bool:
        repair = finding.repair
        try:
            if finding.cell is None:
                await self._top.store.commit(self._guard(repair.txn, finding.shard))
            else:
                await self._fences.commit(self._top.cells.store(finding.cell), finding.shard, repair.txn)
        except CompareFailed:
            return False  # it is being worked on
        except KilonovaError as error:
            log.warning("record not mended", record=repair.what, cell=finding.cell, reason=error.message)
            return False
        log.warning("record mended", record=repair.what, cell=finding.cell, was=repair.why)
        return True

    async def _servers(self) -> AsyncIterator[_Finding]:
        """Lines that servers lack, at the top and in their hosts' indexes; specs of none."""
        for window in range(WINDOWS):
            shard = shard_of_window(window)
            if shard not in self._owned:
                continue
            async for mappings in self._top.store.pages(window_of(Global.INSTANCES, window), PAGE):
                for found in await self._at_top(mappings):
                    for repair in server_repairs(found):
                        yield _Finding(repair, shard)
                async for finding in self._in_hosts_indexes(mappings, shard):
                    yield finding
                await asyncio.sleep(PAUSE_SECONDS)
            async for specs in self._top.store.pages(window_of(Global.SPECS, window), PAGE):
                uuids = [spec.value.uuid for spec in specs]
                known = await self._by_id(Global.INSTANCES, uuids)
                operations = await self._operations(uuids)
                for spec, uuid in zip(specs, uuids, strict=True):
                    if known[uuid] is None:
                        for repair in server_repairs(AtTop(uuid, None, operations[uuid], spec)):
                            yield _Finding(repair, shard)

    async def _at_top(self, mappings: Sequence[Stored[InstanceMapping]]) -> list[AtTop]:
        pairs = [line_keys(mapping.value) for mapping in mappings]
        of_projects = await self._top.store.read_all([pair[0] for pair in pairs])
        of_all = await self._top.store.read_all([pair[1] for pair in pairs])
        operations = await self._operations([mapping.value.uuid for mapping in mappings])
        return [
            AtTop(m.value.uuid, m, operations[m.value.uuid], None, project_line, time_line)
            for m, project_line, time_line in zip(mappings, of_projects, of_all, strict=True)
        ]

    async def _in_hosts_indexes(
        self, mappings: Sequence[Stored[InstanceMapping]], shard: int
    ) -> AsyncIterator[_Finding]:
        by_cell: defaultdict[str, list[InstanceMapping]] = defaultdict(list)
        for mapping in mappings:
            if mapping.value.cell:
                by_cell[mapping.value.cell].append(mapping.value)

        async def lacking(cell: str, servers: list[InstanceMapping]) -> list[Repair]:
            store = self._top.cells.store(cell)
            instances = [s for s in await store.read_all([key_in_cell(server) for server in servers]) if s]
            keys = [Cell.BY_HOST(s.value.host, s.value.uuid) for s in instances if s.value.host]
            lines = {line.key.path: line for line in await store.read_all(keys) if line}
            return [repair for s in instances if (repair := host_line_repair(s, lines))]

        for cell, servers in by_cell.items():
            for repair in await self._asked(cell, partial(lacking, cell, servers)):
                yield _Finding(repair, shard, cell)

    async def _lines(self) -> AsyncIterator[_Finding]:
        """Lines of the lists that no server has."""
        families: tuple[Family[ServerIndex], ...] = (Global.PROJECT_SERVERS, Global.ALL_SERVERS)
        for family in families:
            async for page in self._top.store.pages(family.under(), PAGE):
                own = [line for line in page if shard_of(line.key.path[-36:]) in self._owned]
                uuids = [line.key.path[-36:] for line in own]
                mappings = await self._by_id(Global.INSTANCES, uuids)
                operations = await self._operations(uuids)
                for line, uuid in zip(own, uuids, strict=True):
                    repair = stray_line(line, mappings[uuid]) if operations[uuid] is None else None
                    if repair:
                        yield _Finding(repair, shard_of(uuid))
                await asyncio.sleep(PAUSE_SECONDS)

    async def _groups(self) -> AsyncIterator[_Finding]:
        """Members that are no servers."""
        async for page in self._top.store.pages(Global.GROUPS.under(), PAGE):
            own = [group for group in page if shard_of(group.value.uuid) in self._owned]
            # Read after the groups: a request whose parent has gone meanwhile has written its servers.
            awaited = {uuid for parent in await self._large_requests() for uuid in _awaited(parent)} if own else set()
            for group in own:
                members = list(group.value.members)
                there = {uuid for uuid, m in (await self._by_id(Global.INSTANCES, members)).items() if m}
                if repair := lost_members(group, there, awaited):
                    yield _Finding(repair, shard_of(group.value.uuid))
            await asyncio.sleep(PAUSE_SECONDS)

    async def _charges(self) -> AsyncIterator[_Finding]:
        """Usages that are not what a project's servers and groups count. A project that changes meanwhile is judged in
        another round."""
        store = self._top.store
        async for page in store.pages(Global.QUOTA_USAGE.under(), PAGE):
            for usage in page:
                project = usage.key.path.rsplit("/", 1)[1]
                if shard_of(project) not in self._owned:
                    continue
                servers: list[InstanceMapping] = []
                async for lines in store.path_pages(Global.PROJECT_SERVERS.under(project, ""), PAGE):
                    found = await self._by_id(Global.INSTANCES, [path[-36:] for path in lines])
                    servers += [m.value for m in found.values() if m]
                requests = [_left(p) for p in await self._large_requests() if p.project == project]
                paths = await store.paths(Global.PROJECT_GROUPS.under(project, ""))
                groups = [g.value for g in (await self._by_id(Global.GROUPS, [p[-36:] for p in paths])).values() if g]
                again = await store.get(usage.key)
                if again is None or again.mod_revision != usage.mod_revision:
                    continue
                if repair := charge_repair(usage, charge_of_all(servers, requests, groups)):
                    yield _Finding(repair, shard_of(project))
                await asyncio.sleep(PAUSE_SECONDS)

    async def _hosts(self) -> AsyncIterator[_Finding]:
        """Lines in hosts' indexes of servers that are not there."""
        async for page in self._top.store.pages(Global.HOSTS.under(), PAGE):
            for stored in page:
                host = stored.value
                if shard_of(host.host) not in self._owned:
                    continue
                for repair in await self._asked(host.cell, partial(self._strays_of, host)):
                    yield _Finding(repair, shard_of(host.host), host.cell)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _strays_of(self, host: HostMapping) -> list[Repair]:
        store = self._top.cells.store(host.cell)
        if await store.get(Cell.HOSTS(host.host)) is None:
            log.warning("a mapped host that its cell does not know", host=host.host, cell=host.cell)
        lines = await store.range(Cell.BY_HOST.under(host.host, ""))
        instances = await store.read_all([instance_key_of(line.value, line.key.path[-36:]) for line in lines])
        pairs = zip(lines, instances, strict=True)
        return [repair for line, there in pairs if (repair := stray_host_line(host.host, line, there))]

    async def _asked(self, cell: str, ask: Callable[[], Awaitable[list[Repair]]]) -> list[Repair]:
        """Nothing of a cell that does not answer, which is waited for once a round."""
        if cell in self._silent:
            return []
        try:
            async with asyncio.timeout(CELL_SECONDS):
                return await ask()
        except (StoreUnavailable, NotFound, TimeoutError) as error:
            self._silent.add(cell)
            log.warning("records of a cell that does not answer not looked after", cell=cell, reason=repr(error))
            return []

    async def _large_requests(self) -> list[Operation]:
        found: list[Operation] = []
        async for page in self._top.store.pages(Global.OPERATIONS.under(), PAGE):
            found += [s.value for s in page if s.value.kind == MULTI_CREATE]
        return found

    async def _by_id(self, family: Family[Any], uuids: Iterable[str]) -> dict[str, Stored[Any] | None]:
        keys: dict[str, Key[Any]] = {uuid: family(uuid) for uuid in uuids}
        return dict(zip(keys, await self._top.store.read_all(list(keys.values())), strict=True))

    async def _operations(self, uuids: Iterable[str]) -> dict[str, Stored[Operation] | None]:
        keys = {uuid: Global.OPERATIONS(shard_of(uuid), uuid) for uuid in uuids}
        return dict(zip(keys, await self._top.store.read_all(list(keys.values())), strict=True))


def _awaited(parent: Operation) -> list[str]:
    return [uuid_at(parent.server, n) for n in range(parent.inputs["written"], parent.inputs["count"])]


def _left(parent: Operation) -> tuple[str, Any, int]:
    draft = from_dict(ServerDraft, parent.inputs["draft"])
    charge = charge_of(draft.flavor.copy_for_server())
    return parent.user, charge, parent.inputs["count"] - parent.inputs["written"]
