"""The hosts as the scheduler sees them: one HostState each, and what is decided by arithmetic as numpy columns.

What a host offers lies in placement's forest: on its own provider, on others of its tree, on those that share with it.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from random import Random

import numpy as np
from attrs import define, field

from control.placement.bits import Bits
from control.placement.forest import Forest, Node
from control.placement.resources import Amounts
from control.scheduler.columns import Column, Columns
from kv.txn import Stored
from schemas.aggregate import Aggregate
from schemas.group import ServerGroup
from schemas.guest import HostFacts
from schemas.host import HostMapping
from schemas.placement import Provider, Usages


@define(eq=False)
class HostState:
    """One host. What is None has not been seen yet; such a host takes nothing."""

    host: str
    row: int
    mapping: Stored[HostMapping] | None = None
    node: Node | None = None
    """its own provider"""
    facts: HostFacts | None = None
    alive: bool = False
    aggregates: tuple[Aggregate, ...] = ()
    servers: frozenset[str] = frozenset()
    """consumers with a claim here; only followed when a filter or weigher asks for it"""
    images: Counter[tuple[str, str]] = field(factory=Counter)
    """how many of them were made from images with this property and value"""

    @property
    def cell(self) -> str:
        assert self.mapping is not None
        return self.mapping.value.cell

    @property
    def provider(self) -> Stored[Provider] | None:
        """Without its traits."""
        return self.node.stored if self.node else None

    @property
    def usages(self) -> Stored[Usages] | None:
        return self.node.usages if self.node else None

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
        self.forest = Forest()
        self.aggregates: dict[str, Aggregate] = {}
        """by uuid"""
        self.groups: dict[str, Stored[ServerGroup]] = {}
        self.cells, self.flags = Columns("bool"), Columns("bool")
        """by name of the cell; complete, alive, disabled, forced_down, refuses"""
        self.numbers = Columns("float64")
        """hypervisor_version, io_ops, pci_devices, instances, failed_builds, rank"""
        self._draw = draw
        self._of_provider: dict[str, HostState] = {}
        self._nodes = Columns("int32")
        """under "row" the rows of the hosts' own providers in the forest"""

    @property
    def _columns(self) -> tuple[Columns, ...]:
        return (self.cells, self.flags, self.numbers, self._nodes)

    def of_provider(self, uuid: str) -> HostState | None:
        """The host whose own provider this is."""
        return self._of_provider.get(uuid)

    @property
    def provider_rows(self) -> Column:
        """Each host's provider's row in the forest; of hosts without one any."""
        return self._nodes["row"]

    def of_hosts(self, column: Column) -> Column:
        """A column of the forest as one of the hosts."""
        if not len(column):
            return np.zeros(len(self.rows), column.dtype)
        found: Column = column[self.provider_rows]
        return found

    def bearing(self, rows: Bits) -> Column:
        """The hosts whose own provider is in this set of the forest's rows."""
        return self.of_hosts(self.forest.mask(rows))

    def free(self, name: str) -> Column:
        """How much more of a class each host's own provider and those below it have; less than nothing where more is
        used than there is."""
        column = self.forest.columns.get(name)
        if column is None:
            return np.zeros(len(self.rows), np.int64)
        free: Column = column.capacity - column.used
        if self.forest.children:
            root = self.forest.root
            whole = np.bincount(root, weights=free, minlength=len(free)).astype(np.int64)
            free = np.where(root == np.arange(len(root)), whole, free)
        return self.of_hosts(free)

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
        self.flags.set("refuses", state.row, bool(facts and not facts.takes_guests))
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

    def is_alive(self, host: str) -> bool:
        return self._state(host).alive

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
        """An older revision than the known one is ignored: the own commit may be ahead of the watch."""
        known = self.groups.get(uuid)
        if group is None:
            self.groups.pop(uuid, None)
        elif known is None or known.mod_revision <= group.mod_revision:
            self.groups[uuid] = group

    def set_provider(self, uuid: str, provider: Stored[Provider] | None, at: int | None = None) -> None:
        """As `Forest.set_provider`."""
        self.forest.set_provider(uuid, provider, at)
        self._attach(uuid)

    def set_usages(self, uuid: str, usages: Stored[Usages] | None, at: int | None = None) -> None:
        """As `Forest.set_usages`."""
        self.forest.set_usages(uuid, usages, at)
        self._attach(uuid)

    def reserve(self, resources: Mapping[str, Amounts], sign: int = 1) -> None:
        """As `Forest.reserve`."""
        self.forest.reserve(resources, sign)

    def rows_of(self, hosts: Collection[str]) -> list[int]:
        return [self.hosts[h].row for h in hosts if h in self.hosts]

    def only(self, hosts: Collection[str]) -> Column:
        """Which rows are these hosts."""
        found = self.flags[""].copy()
        found[self.rows_of(hosts)] = True
        return found

    def _attach(self, uuid: str) -> None:
        """Host and provider know each other; a provider that is no host's concerns none."""
        node, state = self.forest.get(uuid), self._of_provider.get(uuid)
        if node is not None and node.stored is not None and node.stored.value.host is not None:
            state = self._of_provider[uuid] = self._state(node.stored.value.host)
        if state is None:
            return
        if node is None:
            del self._of_provider[uuid]
            if state.node is not None and state.node.uuid != uuid:
                return  # it has another one by now
        state.node = node
        self._nodes.set("row", state.row, node.row if node else 0)
        self._complete(state)

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
