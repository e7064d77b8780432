"""Resource providers and what is claimed on them."""

from datetime import datetime

from attrs import field, frozen

from schemas.codec import record
from schemas.topology import TopologyClaim


@frozen
class Inventory:
    total: int
    reserved: int = 0
    min_unit: int = 1
    max_unit: int = 2**31 - 1
    step_size: int = 1
    allocation_ratio: float = 1.0

    @property
    def capacity(self) -> int:
        return int((self.total - self.reserved) * self.allocation_ratio)


@record(1)
@frozen
class Provider:
    """The static side. A change of inventories, traits or aggregates rewrites the Usages in the same transaction."""

    uuid: str
    name: str
    inventories: dict[str, Inventory]
    traits: frozenset[str] = frozenset()
    parent: str | None = None
    """The root is derived: the provider at the end of the chain of parents."""
    aggregates: frozenset[str] = frozenset()
    host: str | None = None
    cell: str | None = None
    updated: datetime | None = None
    """when the provider was created, named or given its parent; other changes are in its Usages"""


@record(1)
@frozen
class Usages:
    """All that a claim rewrites; its mod-revision guards the provider. At zero a class is left out of `used`."""

    used: dict[str, int] = field(factory=dict)
    generation: int = 0
    updated: datetime | None = None
    topology: dict[str, TopologyClaim] = field(factory=dict)
    """on a host's own provider, by consumer: where those lie for whom it matters"""


@record(1)
@frozen
class Children:
    """The providers right below one; without any there is no record, so its absence is what a deletion compares."""

    uuids: frozenset[str]


@record(1)
@frozen
class Allocation:
    """What a consumer holds: provider uuid -> resource class -> amount. A consumer that holds nothing has no record."""

    consumer: str
    project: str
    user: str
    resources: dict[str, dict[str, int]]
    created: datetime
    group: str | None = None
    type: str | None = "INSTANCE"
    """None: written by a client that knew no consumer types; shown as `unknown`"""
    generation: int = 1
    updated: datetime | None = None
    """None: not since it was created"""


@record(1)
@frozen
class Trait:
    """A custom one; the standard ones come with the os-traits library and are not stored."""

    name: str
    updated: datetime


@record(1)
@frozen
class UsedAggregate:
    """An aggregate that a provider is or was in, from its first use on. They are listed in the order of their creation,
    those of one write by their place in it."""

    uuid: str
    place: int


@record(1)
@frozen
class ResourceClass:
    """A custom one; the standard ones come with the os-resource-classes library and are not stored."""

    name: str
    updated: datetime


@record(1)
@frozen
class Erasures:
    """The one record between those who delete custom traits and classes and those who begin to use them.

    A deletion first names here what it is about to delete, then looks whether it is used, then deletes it comparing
    this record. Who begins to use a custom name compares this record too, and takes the name out if it is here.
    """

    names: frozenset[str] = frozenset()
