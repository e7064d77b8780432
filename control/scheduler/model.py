"""The hosts as the scheduler sees them: one HostState each, and their capacities as numpy columns."""

from collections.abc import Iterable

import numpy as np
from attrs import define

from control.placement.resources import Amounts
from kv.txn import Stored
from schemas.guest import HostFacts
from schemas.host import HostMapping
from schemas.placement import Provider, Usages

CLASSES = ("VCPU", "MEMORY_MB", "DISK_GB")


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

    @property
    def cell(self) -> str:
        assert self.mapping is not None
        return self.mapping.value.cell

    @property
    def complete(self) -> bool:
        return None not in (self.mapping, self.provider, self.usages, self.facts)


class Model:
    """Not thread-safe; every `set_*` keeps the columns in step."""

    def __init__(self) -> None:
        self.hosts: dict[str, HostState] = {}
        self.rows: list[HostState] = []
        self.capacity = np.zeros((len(CLASSES), 0), dtype=np.int64)
        self.largest = np.zeros((len(CLASSES), 0), dtype=np.int64)
        """max_unit of each class"""
        self.used = np.zeros((len(CLASSES), 0), dtype=np.int64)
        self._by_provider: dict[str, str] = {}

    def of_provider(self, uuid: str) -> HostState | None:
        host = self._by_provider.get(uuid)
        return self.hosts[host] if host else None

    def set_mapping(self, host: str, mapping: Stored[HostMapping] | None) -> None:
        self._state(host).mapping = mapping

    def set_facts(self, host: str, facts: HostFacts | None) -> None:
        self._state(host).facts = facts

    def set_alive(self, host: str, alive: bool) -> None:
        self._state(host).alive = alive

    def set_provider(self, uuid: str, provider: Stored[Provider] | None) -> None:
        host = provider.value.host if provider else self._by_provider.get(uuid)
        if host is None:
            return
        state = self._state(host)
        state.provider = provider
        if provider is None:
            self.capacity[:, state.row] = 0
            return
        self._by_provider[uuid] = host
        for i, name in enumerate(CLASSES):
            inventory = provider.value.inventories.get(name)
            self.capacity[i, state.row] = inventory.capacity if inventory else 0
            self.largest[i, state.row] = inventory.max_unit if inventory else 0

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
        state.usages = usages
        used = usages.value.used if usages else {}
        for i, name in enumerate(CLASSES):
            self.used[i, state.row] = used.get(name, 0)

    def fitting(self, asked: Amounts) -> np.ndarray:
        """Rows whose columns have room for these amounts."""
        amounts = np.array([asked.get(name, 0) for name in CLASSES], dtype=np.int64)[:, None]
        # Of what it is not asked for a host may even have used too much, since its inventory shrank.
        room = (amounts == 0) | ((self.used + amounts <= self.capacity) & (amounts <= self.largest))
        return np.flatnonzero(room.all(axis=0)[: len(self.rows)])  # the columns are longer than they are filled

    def states(self, rows: Iterable[int]) -> list[HostState]:
        return [self.rows[r] for r in rows]

    def _state(self, host: str) -> HostState:
        state = self.hosts.get(host)
        if state is None:
            state = self.hosts[host] = HostState(host, len(self.rows))
            self.rows.append(state)
            for name in ("capacity", "largest", "used"):
                column = getattr(self, name)
                if state.row >= column.shape[1]:
                    grown = np.zeros((len(CLASSES), max(64, 2 * column.shape[1])), dtype=np.int64)
                    grown[:, : column.shape[1]] = column
                    setattr(self, name, grown)
        return state
