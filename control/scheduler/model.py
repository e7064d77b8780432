"""The hosts as the scheduler sees them: one HostState each, and what is decided by arithmetic as numpy columns."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from random import Random

from attrs import define, field

from control.placement.resources import Amounts
from control.scheduler.columns import Column, Columns
from kv.txn import Stored
from schemas.aggregate import Aggregate
from schemas.group import ServerGroup
from schemas.guest import HostFacts
from schemas.host import HostMapping
from schemas.placement import Inventory, Provider, Usages

NOTHING = Inventory(0, max_unit=0)


@define(eq=False)
class HostState:
    """One host. What is None has not been seen yet; such a host takes nothing."""

    host: str
    row: int
    mapping: Stored[HostMapping] | None = None
    provider: Stored[Provider] | None = None
    usages: Stored[Usages] | None = None
    facts: HostFacts | None = None
    alive: bool = False
    aggregates: tuple[Aggregate, ...] = ()
    servers: frozenset[str] = frozenset()
    """consumers with a claim here; only followed when a filter or weigher asks for it"""
    images: Counter[tuple[str, str]] = field(factory=Counter)
    """how many of them were made from images with this property and value"""
    reserved: Counter[str] = field(factory=Counter)
    """what claims under way in this process will use"""

    @property
    def cell(self) -> str:
        assert self.mapping is not None
        return self.mapping.value.cell

    @property
    def complete(self) -> bool:
        return None not in (self.mapping, self.provider, self.usages, self.facts)

    def metadata(self, key: str) -> frozenset[str]:
        """The values that the host's aggregates have under a key."""
        return frozenset(a.metadata[key] for a in self.aggregates if key in a.metadata)

    def zone(self, default: str) -> str:
        """Its availability zone."""
        return next((a.zone for a in self.aggregates if a.zone), default)


class Model:
    """Not thread-safe; every `set_*` keeps the columns in step. `draw` breaks ties between equal hosts in an order of
    this model's own, so that several schedulers do not run after the same host; without it the first comes first."""

    def __init__(self, draw: Random | None = None) -> None:
        self.hosts: dict[str, HostState] = {}
        self.rows: list[HostState] = []
        self.aggregates: dict[str, Aggregate] = {}
        """by uuid"""
        self.groups: dict[str, Stored[ServerGroup]] = {}
        self.capacity, self.used = Columns("int64"), Columns("int64")
        """by resource class; `used` holds what is reserved too"""
        self.smallest, self.largest, self.step = Columns("int64"), Columns("int64"), Columns("int64")
        """min_unit, max_unit and step_size by resource class"""
        self.traits, self.members, self.cells, self.flags = (Columns("bool") for _ in range(4))
        """by trait, by uuid of the placement aggregate, by name of the cell; complete, alive, disabled, forced_down"""
        self.numbers = Columns("float64")
        """hypervisor_version, io_ops, pci_devices, instances, failed_builds, rank"""
        self._draw = draw
        self._by_provider: dict[str, str] = {}

    @property
    def _columns(self) -> tuple[Columns, ...]:
        amounts = (self.capacity, self.used, self.smallest, self.largest, self.step)
        return (*amounts, self.traits, self.members, self.cells, self.flags, self.numbers)

    def of_provider(self, uuid: str) -> HostState | None:
        host = self._by_provider.get(uuid)
        return self.hosts[host] if host else None

    def set_mapping(self, host: str, mapping: Stored[HostMapping] | None) -> None:
        state = self._state(host)
        before, state.mapping = state.mapping, mapping
        self.cells.replace(state.row, _cell(before), _cell(mapping))
        self.flags.set("disabled", state.row, bool(mapping and mapping.value.disabled))
        self.flags.set("forced_down", state.row, bool(mapping and mapping.value.forced_down))
        self._complete(state)

    def set_facts(self, host: str, facts: HostFacts | None) -> None:
        state = self._state(host)
        state.facts = facts
        self.numbers.set("hypervisor_version", state.row, facts.hypervisor_version if facts else 0)
        self.numbers.set("pci_devices", state.row, sum(p.free for p in facts.pci) if facts else 0)
        self.numbers.set("io_ops", state.row, facts.io_ops if facts else 0)
        self._complete(state)

    def set_failed_builds(self, host: str, count: int) -> None:
        self.numbers.set("failed_builds", self._state(host).row, count)

    def set_alive(self, host: str, alive: bool) -> None:
        state = self._state(host)
        state.alive = alive
        self.flags.set("alive", state.row, alive)

    def set_servers(self, host: str, servers: frozenset[str], images: Counter[tuple[str, str]] | None = None) -> None:
        state = self._state(host)
        state.servers = servers
        state.images = images or Counter()
        self.numbers.set("instances", state.row, len(servers))

    def set_aggregates(self, aggregates: Iterable[Aggregate]) -> None:
        """All there are."""
        self.aggregates = {a.uuid: a for a in aggregates}
        by_host: dict[str, list[Aggregate]] = {}
        for aggregate in sorted(self.aggregates.values(), key=lambda a: a.id):
            for host in aggregate.hosts:
                by_host.setdefault(host, []).append(aggregate)
        for state in self.rows:
            state.aggregates = ()
        for host, found in by_host.items():
            self._state(host).aggregates = tuple(found)

    def set_group(self, uuid: str, group: Stored[ServerGroup] | None) -> None:
        """An older revision than the known one is ignored, as with usages."""
        known = self.groups.get(uuid)
        if group is None:
            self.groups.pop(uuid, None)
        elif known is None or known.mod_revision <= group.mod_revision:
            self.groups[uuid] = group

    def set_provider(self, uuid: str, provider: Stored[Provider] | None) -> None:
        host = provider.value.host if provider else self._by_provider.get(uuid)
        if host is None:
            return
        state = self._state(host)
        before, after = _static(state.provider), _static(provider)
        state.provider = provider
        if provider is not None:
            self._by_provider[uuid] = host
        for name in before.inventories.keys() | after.inventories.keys():
            inventory = after.inventories.get(name, NOTHING)
            self.capacity.set(name, state.row, inventory.capacity)
            self.smallest.set(name, state.row, inventory.min_unit)
            self.largest.set(name, state.row, inventory.max_unit)
            self.step.set(name, state.row, inventory.step_size)
        self.traits.replace(state.row, before.traits, after.traits)
        self.members.replace(state.row, before.aggregates, after.aggregates)
        self._complete(state)

    def set_usages(self, uuid: str, usages: Stored[Usages] | None) -> None:
        """An older revision than the known one is ignored: the own commit may be ahead of the watch."""
        state = self.of_provider(uuid)
        if state is None or (state.usages and usages and usages.mod_revision < state.usages.mod_revision):
            return
        self.force_usages(uuid, usages)

    def force_usages(self, uuid: str, usages: Stored[Usages] | None) -> None:
        """What a linearizable read said, whatever was known."""
        state = self.of_provider(uuid)
        if state is None:
            return
        before = state.usages.value.used if state.usages else {}
        state.usages = usages
        self._recount(state, before.keys() | (usages.value.used.keys() if usages else ()))
        self._complete(state)

    def reserve(self, state: HostState, asked: Amounts, sign: int = 1) -> None:
        """Counts a claim under way as used; -1 ends that."""
        for name, amount in asked.items():
            state.reserved[name] += sign * amount
        self._recount(state, asked.keys())

    def rows_of(self, hosts: Collection[str]) -> list[int]:
        return [self.hosts[h].row for h in hosts if h in self.hosts]

    def only(self, hosts: Collection[str]) -> Column:
        """Which rows are these hosts."""
        found = self.flags[""].copy()
        found[self.rows_of(hosts)] = True
        return found

    def _recount(self, state: HostState, classes: Iterable[str]) -> None:
        used: Mapping[str, int] = state.usages.value.used if state.usages else {}
        for name in classes:
            self.used.set(name, state.row, used.get(name, 0) + state.reserved[name])

    def _complete(self, state: HostState) -> None:
        self.flags.set("complete", state.row, state.complete)

    def _state(self, host: str) -> HostState:
        state = self.hosts.get(host)
        if state is None:
            state = self.hosts[host] = HostState(host, len(self.rows))
            self.rows.append(state)
            for columns in self._columns:
                columns.add_row()
            self.numbers.set("rank", state.row, self._draw.random() if self._draw else state.row)
        return state


def _cell(mapping: Stored[HostMapping] | None) -> tuple[str, ...]:
    return (mapping.value.cell,) if mapping else ()


_NO_PROVIDER = Provider("", "", {})


def _static(provider: Stored[Provider] | None) -> Provider:
    return provider.value if provider else _NO_PROVIDER
