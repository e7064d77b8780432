"""Host aggregates as the API shows them."""

from typing import Any, Final

from control.compute.views.moments import micros
from schemas.aggregate import Aggregate

Json = dict[str, Any]

UUIDS_SINCE: Final = 41


def brief(aggregate: Aggregate, version: int) -> Json:
    """The answer to a creation."""
    body: Json = {
        "id": aggregate.id,
        "name": aggregate.name,
        "availability_zone": aggregate.zone,
        "created_at": micros(aggregate.created),
        "updated_at": micros(aggregate.updated),
        "deleted": False,
        "deleted_at": None,
    }
    return {**body, "uuid": aggregate.uuid} if version >= UUIDS_SINCE else body


def full(aggregate: Aggregate, version: int) -> Json:
    return {**brief(aggregate, version), "hosts": list(aggregate.hosts), "metadata": aggregate.metadata}
