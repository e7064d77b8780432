"""Resource providers and what is claimed on them."""

from datetime import datetime

from attrs import field, frozen

from schemas.codec import record


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
    """The static side: rewritten when the host's inventory changes, together with its Usages."""

    uuid: str
    name: str
    inventories: dict[str, Inventory]
    traits: frozenset[str] = frozenset()
    parent: str | None = None
    aggregates: frozenset[str] = frozenset()
    host: str | None = None
    cell: str | None = None


@record(1)
@frozen
class Usages:
    """All that a claim rewrites; its mod-revision guards the provider."""

    used: dict[str, int] = field(factory=dict)
    generation: int = 0


@record(1)
@frozen
class Allocation:
    """What a consumer holds: provider uuid -> resource class -> amount."""

    consumer: str
    project: str
    user: str
    resources: dict[str, dict[str, int]]
    created: datetime
    group: str | None = None
    type: str = "instance"
    generation: int = 1
