"""Host aggregates: named sets of hosts with metadata. An availability zone is one key of that metadata."""

from datetime import datetime
from typing import Final

from attrs import field, frozen

from schemas.codec import record

ZONE_KEY: Final = "availability_zone"


@record(1)
@frozen
class Aggregate:
    """`uuid` is also the name of its mirror among the placement aggregates of its hosts' providers."""

    id: int
    uuid: str
    name: str
    created: datetime
    updated: datetime | None = None
    metadata: dict[str, str] = field(factory=dict)
    hosts: tuple[str, ...] = ()

    @property
    def zone(self) -> str | None:
        return self.metadata.get(ZONE_KEY)


@record(1)
@frozen
class Counter:
    """The last integer id that was given away. Whoever compares it also takes turns with all who do."""

    last: int = 0
