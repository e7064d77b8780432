"""The stores as upkeep reads them: the top, and every cell that answers."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from attrs import evolve, frozen

from control.cells.registry import Cells
from control.placement.upkeep.audit import Orphan, orphan_of
from control.placement.upkeep.known import Server
from control.placement.writer import Writer
from control.secrets import SiteKey
from control.servers.find import key_in_cell
from kv.client import Etcd
from kv.keys import Cell, Global
from kv.store import Store
from kv.txn import Stored
from schemas.errors import NotFound, StoreUnavailable
from schemas.host import HostMapping
from schemas.placement import Provider
from schemas.server import InstanceMapping
from schemas.settings import Settings
from schemas.shards import shard_of

CELL_SECONDS: Final = 10.0
AT_ONCE: Final = 1000
"""servers that are looked at together"""


@frozen(eq=False)
class Records:
    store: Store
    cells: Cells
    writer: Writer

    async def servers(self, uuids: Sequence[str], silent: set[str] | None = None) -> list[Server]:
        """Each as it is now; those of a cell that does not answer are unreachable. The allocation is read first: what
        was claimed later is not judged by what was true before. Cells in `silent` are not asked, those that do not
        answer are added to it."""
        silent = set() if silent is None else silent
        allocations = await self.store.read_all([Global.ALLOCATIONS(uuid) for uuid in uuids])
        operations = await self.store.read_all([Global.OPERATIONS(shard_of(uuid), uuid) for uuid in uuids])
        mappings = await self.store.read_all([Global.INSTANCES(uuid) for uuid in uuids])
        found: list[Server] = []
        by_cell: defaultdict[str, list[tuple[int, Stored[InstanceMapping]]]] = defaultdict(list)
        for allocation, operation, mapping, uuid in zip(allocations, operations, mappings, uuids, strict=True):
            state = "moving" if operation or (mapping and not mapping.value.cell) else "none"
            server = Server(uuid, state, mapping, allocation=allocation)  # type: ignore[arg-type]  # a Literal's name
            if mapping and mapping.value.cell and not operation:
                by_cell[mapping.value.cell].append((len(found), mapping))
            found.append(server)
        in_cells = await asyncio.gather(
            *(self._in_cell(cell, [mapping for _, mapping in places], silent) for cell, places in by_cell.items())
        )
        for places, seen in zip(by_cell.values(), in_cells, strict=True):
            for (place, _), server in zip(places, seen, strict=True):
                found[place] = evolve(server, allocation=found[place].allocation)
        return found

    async def orphans(
        self, consumers: Sequence[str], only: str | None = None, silent: set[str] | None = None
    ) -> list[Orphan]:
        """What these consumers hold and do not need; `only` on one provider. `silent`: as with `servers`."""
        servers = await self.servers(consumers, silent)
        named = {uuid for s in servers if s.allocation for uuid in s.allocation.value.resources}
        hosts = {uuid: found.host for uuid, found in (await self.providers(named)).items()}
        return [orphan for server in servers if (orphan := orphan_of(server, hosts, only))]

    async def _in_cell(self, cell: str, mappings: Sequence[Stored[InstanceMapping]], silent: set[str]) -> list[Server]:
        uuids = [mapping.value.uuid for mapping in mappings]
        if cell in silent:
            return [Server(m.value.uuid, "unreachable", m) for m in mappings]
        try:
            async with asyncio.timeout(CELL_SECONDS):
                store = self.cells.store(cell)
                instances = await store.read_all([key_in_cell(mapping.value) for mapping in mappings])
                operations = await store.read_all([Cell.OPERATIONS(shard_of(uuid), uuid) for uuid in uuids])
        except (StoreUnavailable, NotFound, TimeoutError):
            silent.add(cell)
            return [Server(m.value.uuid, "unreachable", m) for m in mappings]
        found = []
        for mapping, stored, operation in zip(mappings, instances, operations, strict=True):
            instance = stored.value if stored else None
            # Without an instance its end, or its way back to the top, is in the outbox. A resized one holds both sides.
            rests = instance is not None and instance.task_state is None and operation is None
            rests = rests and instance is not None and instance.vm_state != "resized"
            found.append(Server(mapping.value.uuid, "settled" if rests else "moving", mapping, instance))
        return found

    async def hosted(self, cell: str) -> list[str]:
        """The servers on the hosts of a cell. Raises StoreUnavailable, NotFound."""
        return [path.rsplit("/", 1)[1] for path in await self.cells.store(cell).paths(Cell.BY_HOST.under())]

    async def consumers(self) -> list[str]:
        return [path.rsplit("/", 1)[1] for path in await self.store.paths(Global.ALLOCATIONS.under())]

    async def nodes(self, hosts: Iterable[str]) -> dict[str, str]:
        """The providers of these hosts, by name."""
        found = await self.store.read_all([Global.HOSTS(host) for host in hosts])
        return {stored.value.host: stored.value.uuid for stored in found if stored}

    async def mappings(self) -> dict[str, HostMapping]:
        """By host."""
        return {s.value.host: s.value for s in await self.store.range(Global.HOSTS.under())}

    async def providers(self, uuids: Iterable[str]) -> dict[str, Provider]:
        found = await self.store.read_all([Global.PROVIDERS(uuid) for uuid in uuids])
        return {stored.value.uuid: stored.value for stored in found if stored}


@asynccontextmanager
async def open_records(settings: Settings) -> AsyncIterator[Records]:
    etcd = Etcd(settings.top.store)
    store = Store(etcd, settings.top.prefix)
    key = SiteKey.load(settings.top.site_key_file)
    cells = Cells(store, key, "placement commands", with_bus=False, like_store=settings.top.store)
    following = asyncio.create_task(cells.run())
    try:
        await cells.mappings.synced.wait()
        yield Records(store, cells, Writer(store))
    finally:
        following.cancel()
        await cells.close()
        await etcd.close()
