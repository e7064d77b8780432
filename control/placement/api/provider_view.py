"""A resource provider as JSON."""

from datetime import UTC, datetime
from typing import Any, Final

from control.placement.api import links
from control.placement.forest import Node

_LINKS: Final = (("inventories", 0), ("usages", 0), ("aggregates", 1), ("traits", 6), ("allocations", 11))
"""with the version that each came with"""
TREES_SINCE: Final = 14
EPOCH: Final = datetime.fromtimestamp(0, UTC)
"""the date of what was written by hand, without one"""


def provider_view(node: Node, mount: str, version: int) -> dict[str, Any]:
    assert node.stored is not None
    url = links.provider(mount, node.uuid)
    view = {
        "uuid": node.uuid,
        "name": node.stored.value.name,
        "generation": generation(node),
        "links": [
            {"rel": "self", "href": url},
            *({"rel": rel, "href": f"{url}/{rel}"} for rel, since in _LINKS if since <= version),
        ],
    }
    if version >= TREES_SINCE:
        view["parent_provider_uuid"] = node.stored.value.parent
        view["root_provider_uuid"] = node.root.uuid
    return view


def generation(node: Node) -> int:
    return node.usages.value.generation if node.usages else 0


def modified(node: Node) -> datetime:
    """When the provider or anything that it has was last changed."""
    times = [stored.value.updated for stored in (node.stored, node.usages) if stored and stored.value.updated]
    return max(times, default=EPOCH)
