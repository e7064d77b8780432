"""A placement model for unit tests: providers with inventories, traits and aggregates, and what is used of them."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from attrs import field, frozen
from unit_records import stored

from control.placement.forest import Forest
from kv.keys import Global
from schemas.placement import Allocation, Inventory, Provider, Usages

THEN = datetime(2030, 1, 2, tzinfo=UTC)


@frozen
class Rp:
    """One provider; its uuid is its name."""

    name: str
    offers: dict[str, Inventory | int] = field(factory=dict)
    """an int is the total of an inventory without rules"""
    traits: frozenset[str] = field(default=frozenset(), converter=frozenset)
    aggregates: frozenset[str] = field(default=frozenset(), converter=frozenset)
    parent: str | None = None
    used: dict[str, int] = field(factory=dict)

    @property
    def inventories(self) -> dict[str, Inventory]:
        return {n: i if isinstance(i, Inventory) else Inventory(i) for n, i in self.offers.items()}

    @property
    def provider(self) -> Provider:
        return Provider(
            self.name, self.name, self.inventories, self.traits, parent=self.parent, aggregates=self.aggregates
        )


def plant(forest: Forest, rp: Rp, revision: int = 1) -> None:
    forest.set_provider(rp.name, stored(Global.PROVIDERS(rp.name), rp.provider, revision))
    forest.set_usages(rp.name, stored(Global.USAGES(rp.name), Usages(dict(rp.used)), revision))


def forest_of(providers: Iterable[Rp]) -> Forest:
    forest = Forest()
    for rp in providers:
        plant(forest, rp)
    return forest


def allocation(consumer: str, resources: dict[str, dict[str, int]], **more: Any) -> Allocation:
    return Allocation(
        **{"consumer": consumer, "project": "p", "user": "u", "resources": resources, "created": THEN, **more}
    )


def allocate(
    forest: Forest, consumer: str, resources: dict[str, dict[str, int]], revision: int = 1, **more: Any
) -> None:
    forest.set_allocation(
        consumer, stored(Global.ALLOCATIONS(consumer), allocation(consumer, resources, **more), revision)
    )
