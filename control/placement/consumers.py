"""Allocations by consumer and by provider, and their sums by project, user and type. Pure."""

from collections import defaultdict
from collections.abc import Collection, Iterator
from sys import intern

from attrs import define, evolve, field

from control.placement.query import UsageQuery
from control.placement.resources import Amounts
from kv.txn import Stored
from schemas.placement import Allocation

UNKNOWN = "unknown"
"""the consumer type of those without one, as the API calls it"""


@define
class Sum:
    """What some consumers hold together."""

    consumers: int = 0
    amounts: Amounts = field(factory=dict)

    def add(self, amounts: Amounts, sign: int = 1) -> None:
        for name, amount in amounts.items():
            left = self.amounts.get(name, 0) + sign * amount
            if left:
                self.amounts[name] = left
            else:
                self.amounts.pop(name, None)

    def count(self, allocation: Allocation, sign: int = 1) -> None:
        self.consumers += sign
        for amounts in allocation.resources.values():
            self.add(amounts, sign)


class Consumers:
    def __init__(self) -> None:
        self._stored: dict[str, Stored[Allocation]] = {}
        self._on: dict[str, set[str]] = {}
        """provider -> consumers"""
        self._sums: dict[str, dict[tuple[str, str | None], Sum]] = {}
        """project -> user and type"""
        self._shared: dict[tuple[tuple[str, int], ...], Amounts] = {}
        """Equal amounts are one object: thousands of servers are of few flavors."""

    def __len__(self) -> int:
        return len(self._stored)

    def __iter__(self) -> Iterator[Stored[Allocation]]:
        return iter(self._stored.values())

    def uuids(self) -> Collection[str]:
        return self._stored.keys()

    def get(self, consumer: str) -> Stored[Allocation] | None:
        return self._stored.get(consumer)

    def on(self, provider: str) -> list[Stored[Allocation]]:
        """The allocations that name this provider."""
        return [self._stored[consumer] for consumer in self._on.get(provider, ())]

    def set(self, consumer: str, stored: Stored[Allocation] | None) -> None:
        before = self._stored.pop(consumer, None)
        if before is not None:
            self._forget(consumer, before.value)
        if stored is not None:
            value = self._compact(stored.value)
            stored = Stored(stored.key, value, stored.mod_revision, stored.create_revision, stored.lease)
            self._stored[consumer] = stored
            self._note(consumer, stored.value)

    def sums(self, query: UsageQuery) -> dict[str | None, Sum]:
        """By consumer type, those without consumers left out."""
        found: defaultdict[str | None, Sum] = defaultdict(Sum)
        wanted = None if query.type == UNKNOWN else query.type
        for (user, kind), total in self._sums.get(query.project, {}).items():
            if query.user in (None, user) and (query.type is None or wanted == kind):
                found[kind].consumers += total.consumers
                found[kind].add(total.amounts)
        return dict(found)

    def _note(self, consumer: str, allocation: Allocation) -> None:
        for provider in allocation.resources:
            self._on.setdefault(provider, set()).add(consumer)
        of_project = self._sums.setdefault(allocation.project, {})
        of_project.setdefault((allocation.user, allocation.type), Sum()).count(allocation)

    def _forget(self, consumer: str, allocation: Allocation) -> None:
        for provider in allocation.resources:
            there = self._on[provider]
            there.discard(consumer)
            if not there:
                del self._on[provider]
        of_project, key = self._sums[allocation.project], (allocation.user, allocation.type)
        of_project[key].count(allocation, -1)
        if not of_project[key].consumers:
            del of_project[key]
            if not of_project:
                del self._sums[allocation.project]

    def _compact(self, allocation: Allocation) -> Allocation:
        resources = {intern(uuid): self._share(amounts) for uuid, amounts in allocation.resources.items()}
        return evolve(allocation, project=intern(allocation.project), user=intern(allocation.user), resources=resources)

    def _share(self, amounts: Amounts) -> Amounts:
        if len(self._shared) > 10_000:
            self._shared.clear()
        return self._shared.setdefault(tuple(amounts.items()), amounts)
