"""Host aggregates: sets of hosts with metadata, mirrored as placement aggregates of their hosts' providers.

All changes take turns on one counter, so that names stay unique and a host stays in one availability zone.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NoReturn

from attrs import evolve, frozen

from control.cells.stores import Stores
from control.servers.commits import commit_settled, retried
from control.top import Top
from kv.keys import Cell, Global
from kv.txn import Stored, Txn
from runtime import ambient
from schemas.aggregate import ZONE_KEY, Aggregate, Counter
from schemas.errors import BadRequest, Conflict, KilonovaError, NotFound, StoreUnavailable

COUNTER: Final = Global.COUNTERS("aggregates")

Refuse = Callable[[str], KilonovaError]
"""The error of an action for a reason"""


@frozen(eq=False)
class _Books:
    """All aggregates and the counter, as one reads them before a change."""

    counter: Stored[Counter] | None
    aggregates: dict[int, Stored[Aggregate]]

    def get(self, ident: int) -> Stored[Aggregate]:
        found = self.aggregates.get(ident)
        if found is None:
            raise NotFound(f"Aggregate {ident} could not be found.")
        return found

    def zones_of(self, host: str, but: int = 0) -> list[str]:
        """The zones that aggregates put the host into, one aggregate excepted."""
        others = (s.value for s in self.aggregates.values() if s.value.id != but)
        return sorted({a.zone for a in others if a.zone and host in a.hosts})


async def list_aggregates(top: Stores) -> list[Aggregate]:
    """By id."""
    return sorted((s.value for s in await top.store.range(Global.AGGREGATES.under())), key=lambda a: a.id)


async def zones_by_host(top: Stores) -> dict[str, str]:
    """Only of the hosts that an aggregate puts into a zone."""
    return {host: a.zone for a in await list_aggregates(top) if a.zone for host in a.hosts}


async def get_aggregate(top: Top, ident: int) -> Aggregate:
    """Raises NotFound."""
    stored = await top.store.get(Global.AGGREGATES(ident))
    if stored is None:
        raise NotFound(f"Aggregate {ident} could not be found.")
    return stored.value


async def create_aggregate(top: Top, name: str, zone: str | None) -> Aggregate:
    """Raises Conflict for a name that is taken."""
    uuid = ambient.new_uuid()

    def plan(books: _Books, txn: Txn) -> Aggregate:
        _check_name(books, name, 0)
        ident = (books.counter.value.last if books.counter else 0) + 1
        metadata = {ZONE_KEY: zone} if zone else {}
        aggregate = Aggregate(ident, uuid, name, ambient.now(), metadata=metadata)
        txn.create(Global.AGGREGATES(ident), aggregate)
        return aggregate

    return await _change(top, "create aggregate", plan, created=True)


async def rename_aggregate(top: Top, ident: int, name: str | None, metadata: Mapping[str, str | None]) -> Aggregate:
    """Raises NotFound, Conflict for a name that is taken, BadRequest for a zone that cannot be."""

    def plan(books: _Books, txn: Txn) -> Aggregate:
        stored = books.get(ident)
        if name is not None:
            _check_name(books, name, ident)
        return _with_metadata(books, stored, evolve(stored.value, name=name or stored.value.name), metadata, txn)

    await _check_empty(top, ident, metadata, "update aggregate")
    return await _change(top, "update aggregate", plan)


async def set_metadata(top: Top, ident: int, metadata: Mapping[str, str | None]) -> Aggregate:
    """None removes a key. Raises NotFound, BadRequest for a zone that cannot be."""

    def plan(books: _Books, txn: Txn) -> Aggregate:
        stored = books.get(ident)
        return _with_metadata(books, stored, stored.value, metadata, txn)

    await _check_empty(top, ident, metadata, "update metadata of aggregate")
    return await _change(top, "aggregate metadata", plan)


async def delete_aggregate(top: Top, ident: int) -> None:
    """Raises NotFound, BadRequest while it has hosts."""

    def plan(books: _Books, txn: Txn) -> Aggregate:
        stored = books.get(ident)
        if stored.value.hosts:
            raise BadRequest(f"Cannot delete aggregate {ident}. Reason: Host aggregate is not empty.")
        txn.remove(stored)
        return stored.value

    await _change(top, "delete aggregate", plan)


async def add_host(top: Top, ident: int, host: str) -> Aggregate:
    """Raises NotFound for aggregate or host, Conflict when it is there already or its zone would change under
    servers."""
    count = await _servers_on(top, [host])

    def plan(books: _Books, txn: Txn) -> Aggregate:
        stored = books.get(ident)
        aggregate = stored.value
        if host in aggregate.hosts:
            raise Conflict(f"Aggregate {ident} already has host {host}.")
        if aggregate.zone:
            known = books.zones_of(host)
            others = [z for z in known if z != aggregate.zone]
            if others:
                _refuse(Conflict, "add host to aggregate", ident, f"One or more hosts already in {_in_zones(others)}")
            if not known:
                _check_unmoved(top, "added to", "add host to aggregate", aggregate, count, to=aggregate.zone)
        after = evolve(aggregate, hosts=tuple(sorted({*aggregate.hosts, host})), updated=ambient.now())
        txn.replace(stored, after)
        return after

    return await _change(top, "aggregate host", plan, host)


async def remove_host(top: Top, ident: int, host: str) -> Aggregate:
    """Raises NotFound, Conflict when its zone would change under servers."""
    count = await _servers_on(top, [host])

    def plan(books: _Books, txn: Txn) -> Aggregate:
        stored = books.get(ident)
        aggregate = stored.value
        if host not in aggregate.hosts:
            raise NotFound(f"Aggregate {ident} has no host {host}.")
        if aggregate.zone and not books.zones_of(host, but=ident):
            _check_unmoved(top, "removed from", "remove host from aggregate", aggregate, count, back=aggregate.zone)
        after = evolve(aggregate, hosts=tuple(h for h in aggregate.hosts if h != host), updated=ambient.now())
        txn.replace(stored, after)
        return after

    return await _change(top, "aggregate host", plan, host)


async def mirror_host(top: Top, host: str) -> None:
    """For a host whose provider is new: it is in the placement aggregates that mirror ours, besides what others put it
    into."""
    aggregates = await list_aggregates(top)
    if not any(host in a.hosts for a in aggregates):
        return

    async def once() -> None:
        mapping = await top.store.get(Global.HOSTS(host))
        if mapping is None:
            return
        provider, usages = await top.store.read(Global.PROVIDERS(mapping.value.uuid), Global.USAGES(mapping.value.uuid))
        if provider is None or usages is None:
            return
        foreign = provider.value.aggregates - {a.uuid for a in aggregates}
        wanted = foreign | {a.uuid for a in aggregates if host in a.hosts}
        if wanted != provider.value.aggregates:
            txn = Txn("aggregate host").replace(provider, evolve(provider.value, aggregates=wanted))
            generation = usages.value.generation + 1
            await top.store.commit(
                txn.replace(usages, evolve(usages.value, generation=generation, updated=ambient.now()))
            )

    await retried(once)


async def leave_aggregates(top: Top, host: str) -> None:
    """For a host that is gone, its provider too."""
    for aggregate in await list_aggregates(top):
        if host not in aggregate.hosts:
            continue

        def plan(books: _Books, txn: Txn, ident: int = aggregate.id) -> Aggregate:
            stored = books.get(ident)
            after = evolve(stored.value, hosts=tuple(h for h in stored.value.hosts if h != host))
            txn.replace(stored, after)
            return after

        await _change(top, "aggregate host", plan)


async def _change(
    top: Top,
    purpose: str,
    plan: Callable[[_Books, Txn], Aggregate],
    host: str | None = None,
    *,
    created: bool = False,
) -> Aggregate:
    """Commits what `plan` adds to the transaction, and with a host the mirror in its provider."""

    async def once() -> Aggregate:
        counter = await top.store.get(COUNTER)
        found = await top.store.range(Global.AGGREGATES.under())
        books = _Books(counter, {s.value.id: s for s in found})
        txn = Txn(purpose)
        aggregate = plan(books, txn)
        value = counter.value if counter else Counter()
        after = Counter(aggregate.id) if created else value
        pivot = counter or Stored(COUNTER, value, 0, 0)
        if counter:
            txn.replace(counter, after)
        else:
            txn.create(COUNTER, after)
        if host is not None:
            await _mirror(top, txn, host, aggregate)

        async def applied() -> bool:
            stored = await top.store.get(Global.AGGREGATES(aggregate.id))
            write = txn.writes[Global.AGGREGATES(aggregate.id).path]
            return (stored.value if stored else None) == (aggregate if write.data is not None else None)

        await commit_settled(top.store, txn, pivot, applied)
        return aggregate

    return await retried(once)


async def _mirror(top: Top, txn: Txn, host: str, aggregate: Aggregate) -> None:
    """The provider's aggregates, and its usages as with every change of a provider. Raises NotFound."""
    mapping = await top.store.get(Global.HOSTS(host))
    if mapping is None:
        raise NotFound(f"Compute host {host} could not be found.")
    provider, usages = await top.store.read(Global.PROVIDERS(mapping.value.uuid), Global.USAGES(mapping.value.uuid))
    txn.unchanged(mapping)
    if provider is None or usages is None:
        return
    inside = host in aggregate.hosts
    mirrored = provider.value.aggregates | {aggregate.uuid} if inside else provider.value.aggregates - {aggregate.uuid}
    if mirrored != provider.value.aggregates:
        txn.replace(provider, evolve(provider.value, aggregates=mirrored))
        txn.replace(usages, evolve(usages.value, generation=usages.value.generation + 1, updated=ambient.now()))


def _with_metadata(
    books: _Books, stored: Stored[Aggregate], after: Aggregate, changes: Mapping[str, str | None], txn: Txn
) -> Aggregate:
    metadata = {**after.metadata, **changes}
    after = evolve(after, metadata={k: v for k, v in metadata.items() if v is not None}, updated=ambient.now())
    if changes.get(ZONE_KEY):
        others = {z for host in after.hosts for z in books.zones_of(host, but=after.id) if z != after.zone}
        if others:
            reason = f"One or more hosts already in {_in_zones(others)}"
            _refuse(BadRequest, "update metadata of aggregate", after.id, reason)
    txn.replace(stored, after)
    return after


async def _check_empty(top: Top, ident: int, changes: Mapping[str, str | None], action: str) -> None:
    """A zone is neither emptied of its name nor changed under servers. Raises BadRequest."""
    if ZONE_KEY not in changes:
        return
    aggregate = await get_aggregate(top, ident)
    if not changes[ZONE_KEY]:
        reason = f"Aggregate {aggregate.name} does not support empty named availability zone"
        _refuse(BadRequest, action, ident, reason)
    if changes[ZONE_KEY] != aggregate.zone and await _servers_on(top, aggregate.hosts):
        _refuse(BadRequest, action, ident, "One or more hosts contain instances in this zone")


def _check_unmoved(
    top: Top,
    done: str,
    action: str,
    aggregate: Aggregate,
    count: int,
    *,
    to: str | None = None,
    back: str | None = None,
) -> None:
    """The host has no zone but the default one before (`to`) or after (`back`)."""
    default = top.settings.scheduler.default_availability_zone
    old, new = back or default, to or default
    if count and old != new:
        reason = (
            f"The host cannot be {done} the aggregate as the availability zone of the host would change from '{old}' "
            f"to '{new}' but the host already has {count} instance(s)"
        )
        _refuse(Conflict, action, aggregate.id, reason)


def _check_name(books: _Books, name: str, ident: int) -> None:
    if any(s.value.name == name and s.value.id != ident for s in books.aggregates.values()):
        raise Conflict(f"Aggregate {name} already exists.")


def _refuse(kind: type[KilonovaError], action: str, ident: int, reason: str) -> NoReturn:
    raise kind(f"Cannot {action} {ident}. Reason: {reason}.")


def _in_zones(zones: Iterable[str]) -> str:
    return f"availability zone(s) {sorted(zones)}"


async def _servers_on(top: Top, hosts: Iterable[str]) -> int:
    """Servers of the cells' records; those of a cell that does not answer are counted by their claims."""
    count = 0
    for stored in await top.store.read_all([Global.HOSTS(h) for h in hosts]):
        if stored is None:
            continue
        try:
            count += await top.cells.store(stored.value.cell).count(Cell.BY_HOST.under(stored.value.host, ""))
        except (StoreUnavailable, NotFound):
            usages = await top.store.get(Global.USAGES(stored.value.uuid))
            count += bool(usages and usages.value.used)
    return count
