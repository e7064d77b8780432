"""Hosts as the top sees them: its own mapping, what their cells say, what is claimed on them."""

import asyncio
from collections import Counter
from typing import Any, Final

import structlog
from attrs import evolve, field, frozen

from control.cells.aggregates import leave_aggregates, zones_by_host
from control.cells.stores import Stores
from control.placement.reading import Reading
from control.placement.writes import providers
from control.servers.commits import commit_settled, retried
from control.top import Top
from kv.keys import Cell, Global, Key
from kv.store import Store
from kv.txn import Stored, Txn
from schemas.errors import Conflict, NotFound, ProviderInUse, StoreUnavailable, Unavailable
from schemas.host import Host, HostMapping, Service
from schemas.placement import Provider

log = structlog.get_logger()

CELL_SECONDS: Final = 2.0
BINARY: Final = "nova-compute"


@frozen
class HostView:
    """`host` and `service` are None when the cell did not answer (`cell_down`) or does not know it."""

    mapping: HostMapping
    host: Host | None = None
    service: Service | None = None
    alive: bool = False
    """its agent is heard, and it takes work"""
    unready: str = ""
    """why it takes none though its agent is heard"""
    cell_down: bool = False
    usages: dict[str, int] = field(factory=dict)
    """resource class -> amount claimed"""
    instances: int = 0
    zone: str = ""
    """its availability zone"""

    @property
    def disabled(self) -> bool:
        """By an operator, or by itself as it refuses new guests."""
        return self.mapping.disabled or (self.host is not None and not self.host.facts.takes_guests)

    @property
    def reason(self) -> str | None:
        """An operator's, else what the host says is wrong with its hypervisor, headed as Nova heads what a compute
        service does by itself. Source: DISABLE_PREFIX of nova/virt/libvirt/driver.py."""
        if self.mapping.disabled:
            return self.mapping.disabled_reason
        trouble = self.unready or (self.host.facts.trouble if self.host else "")
        return f"AUTO: {trouble}"[:255] if trouble else None


@frozen
class _CellHosts:
    hosts: dict[str, Host]
    services: dict[str, Service]
    unready: dict[str, str]
    """of each host that is heard, why it takes no work; empty: it does"""
    instances: dict[str, int]


async def list_hosts(top: Stores, *, counted: bool = False) -> list[HostView]:
    """Every mapped host, by name; a cell that does not answer within its deadline is shown as down. Their `instances`
    are only `counted` when asked for: that costs every server of every cell."""
    mappings = [s.value for s in await top.store.range(Global.HOSTS.under())]
    names = sorted({m.cell for m in mappings})
    cells = dict(zip(names, await asyncio.gather(*(_cell(top, n, counted=counted) for n in names)), strict=True))
    usages = await top.store.read_all([Global.USAGES(m.uuid) for m in mappings])
    zones, default = await zones_by_host(top), top.settings.scheduler.default_availability_zone
    views = []
    for mapping, used in zip(mappings, usages, strict=True):
        seen = cells[mapping.cell]
        view = HostView(
            mapping,
            cell_down=seen is None,
            usages=used.value.used if used else {},
            zone=zones.get(mapping.host, default),
        )
        if seen is not None:
            name = mapping.host
            view = evolve(
                view,
                host=seen.hosts.get(name),
                service=seen.services.get(name),
                alive=seen.unready.get(name) == "",
                unready=seen.unready.get(name, ""),
                instances=seen.instances.get(name, 0),
            )
        views.append(view)
    return sorted(views, key=lambda v: v.mapping.host)


async def get_host(top: Stores, name: str) -> HostView:
    """One mapped host. It costs what there is of this host. Raises NotFound."""
    stored = await top.store.get(Global.HOSTS(name))
    if stored is None:
        raise NotFound(f"Compute host {name} could not be found.")
    mapping = stored.value
    used = await top.store.get(Global.USAGES(mapping.uuid))
    zones, default = await zones_by_host(top), top.settings.scheduler.default_availability_zone
    view = HostView(mapping, usages=used.value.used if used else {}, zone=zones.get(name, default))
    try:
        store = top.cells.store(mapping.cell)
        async with asyncio.timeout(CELL_SECONDS):
            host, service, alive = await store.read(Cell.HOSTS(name), Cell.SERVICES(BINARY, name), Cell.ALIVE(name))
            instances = await store.count(Cell.BY_HOST.under(name, ""))
    except (StoreUnavailable, TimeoutError, NotFound) as error:
        log.warning("cell down", cell=mapping.cell, reason=repr(error))
        return evolve(view, cell_down=True)
    return evolve(
        view,
        host=host.value if host else None,
        service=service.value if service else None,
        alive=alive is not None,
        instances=instances,
    )


async def set_host(
    top: Top,
    host: str,
    *,
    disabled: bool | None = None,
    reason: str | None = None,
    forced_down: bool | None = None,
) -> HostView:
    """Changes the mapping that every claim compares: once this returns, no new server lands on a disabled host.
    Raises NotFound."""

    async def once() -> HostMapping:
        stored = await top.store.get(Global.HOSTS(host))
        if stored is None:
            raise NotFound(f"Compute host {host} could not be found.")
        after = stored.value
        if disabled is not None:
            after = evolve(after, disabled=disabled, disabled_reason=reason if disabled else None)
        if forced_down is not None:
            after = evolve(after, forced_down=forced_down)

        async def applied() -> bool:
            current = await top.store.get(Global.HOSTS(host))
            return current is not None and current.value == after

        await commit_settled(top.store, Txn("set host").replace(stored, after), stored, applied)
        return after

    mapping = await retried(once)
    try:
        return await get_host(top, host)
    except NotFound:  # removed at the same moment
        return HostView(mapping)


async def remove_host(top: Top, view: HostView) -> None:
    """Forgets a host: mapping, provider and its places in aggregates at the top, service and inventory in its cell.
    Raises Conflict while
    anything is claimed on it or a server is there, Unavailable when its cell does not answer."""
    name, ident = view.mapping.host, view.mapping.uuid
    if view.cell_down:
        raise Unavailable(f"The cell of host {name} does not answer now; try again later")
    cell = top.cells.store(view.mapping.cell)

    async def once() -> None:
        mapping, provider = await top.store.read(Global.HOSTS(name), Global.PROVIDERS(ident))
        if mapping is None:
            raise NotFound(f"Compute host {name} could not be found.")
        txn = await _provider_removal(top, provider) if provider else Txn("remove host")
        if txn is None or await cell.count(Cell.BY_HOST.under(name, "")):
            raise Conflict(
                "Unable to delete compute service that is hosting instances. Migrate or delete the instances first."
            )
        txn.remove(mapping)

        async def applied() -> bool:
            return await top.store.get(Global.HOSTS(name)) is None

        await commit_settled(top.store, txn, mapping, applied)

    await retried(once)
    await leave_aggregates(top, name)
    gone = Txn("remove host").delete(Cell.SERVICES(BINARY, name)).delete(Cell.HOSTS(name)).delete(Cell.ALIVE(name))
    await cell.commit(gone)


async def _provider_removal(top: Top, provider: Stored[Provider]) -> Txn | None:
    """None while something is claimed on it. Raises HasChildren."""
    uuid, parent = provider.value.uuid, provider.value.parent
    keys: list[Key[Any]] = [Global.PROVIDERS(uuid), Global.USAGES(uuid), Global.PROVIDER_CHILDREN(uuid)]
    if parent is not None:
        keys.append(Global.PROVIDER_CHILDREN(parent))
    read = {key.path: found for key, found in zip(keys, await top.store.read_all(keys), strict=True)}
    try:
        return providers.delete(Reading(None, read), uuid)
    except ProviderInUse:
        return None


async def _cell(top: Stores, name: str, *, counted: bool) -> _CellHosts | None:
    try:
        store = top.cells.store(name)
        async with asyncio.timeout(CELL_SECONDS):
            hosts, services, alive, counts = await asyncio.gather(
                store.range(Cell.HOSTS.under()),
                store.range(Cell.SERVICES.under(BINARY, "")),
                store.range(Cell.ALIVE.under()),
                _counts(store) if counted else _no_counts(),
            )
    except (StoreUnavailable, TimeoutError, NotFound) as error:
        log.warning("cell down", cell=name, reason=repr(error))
        return None
    return _CellHosts(
        {s.value.host: s.value for s in hosts},
        {s.value.host: s.value for s in services},
        {_last(s.key.path): s.value.unready for s in alive},
        counts,
    )


async def _counts(store: Store) -> dict[str, int]:
    """Servers by host."""
    counts: Counter[str] = Counter()
    async for paths in store.path_pages(Cell.BY_HOST.under()):
        counts.update(path.split("/")[1] for path in paths)
    return counts


async def _no_counts() -> dict[str, int]:
    return {}


def _last(path: str) -> str:
    return path.rsplit("/", 1)[1]
