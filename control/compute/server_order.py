"""The order of a server list. Pure.

As in Nova a page goes on after the sort keys of its marker, whatever is left out of the list by then; servers that are
alike in all keys come by their uuids.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import total_ordering
from typing import Any, Final

from attrs import frozen

from control.compute.call import Query
from control.compute.schemas.servers import IGNORED_SORT_KEYS
from control.compute.server_filters import PLAIN
from control.servers.find import Found
from schemas.server import Instance

SORT_BY_LOCK_SINCE: Final = 73
NEWEST_FIRST: Final = ("created_at", True)
HOST_SORTS: Final = frozenset({"host", "node"})
"""for administrators"""

SORTS: Final[Mapping[str, Callable[[Instance], object]]] = {
    **PLAIN,
    "created_at": lambda s: s.created,
    "updated_at": lambda s: s.updated,
    "launched_at": lambda s: s.launched,
    "terminated_at": lambda s: s.terminated,
    "display_name": lambda s: s.name,
    "instance_type_id": lambda s: s.flavor.id,
    "config_drive": lambda s: s.config_drive,
    "auto_disk_config": lambda s: s.disk_config,
    "locked": lambda s: s.locked,
}

Order = Sequence[tuple[str, bool]]
"""Sort keys and whether each descends"""


def order_of(query: Query, version: int) -> Order:
    """Empty: the default order, newest first. Keys that Nova ignores are left out."""
    keys, directions = query.get("sort_key", []), query.get("sort_dir", [])
    rest = directions[0] if directions else "desc"  # Nova's: the first direction holds for the keys that have none
    order = [(key, (directions[i] if i < len(directions) else rest) == "desc") for i, key in enumerate(keys)]
    ignored = set(IGNORED_SORT_KEYS) - ({"locked"} if version >= SORT_BY_LOCK_SINCE else set())
    order = [(key, descends) for key, descends in order if key in SORTS and key not in ignored]
    if not keys and directions[:1] == ["asc"]:
        return [("created_at", False)]
    return [] if order == [NEWEST_FIRST] else list(dict.fromkeys(order))


def sorting(order: Order) -> Callable[[Found], Any]:
    """What servers are compared by. Times are compared as they are shown, to the second, where a key follows that could
    tell apart what was created at once; the last one may use all it has."""
    order = order or [NEWEST_FIRST]
    keys = [(SORTS[key], descends, place < len(order) - 1) for place, (key, descends) in enumerate(order)]

    def key(found: Found) -> Any:
        server = found.instance
        parts = [_part(value(server), descends, shown) for value, descends, shown in keys]
        return (*parts, server.uuid)

    return key


def _part(value: object, descends: bool, shown: bool) -> Any:
    """None comes before everything."""
    if shown and isinstance(value, datetime):
        value = value.replace(microsecond=0)
    part = (value is not None, value if value is not None else 0)
    return _Descending(part) if descends else part


@total_ordering
@frozen(order=False)
class _Descending:
    value: Any

    def __lt__(self, other: "_Descending") -> bool:
        return bool(other.value < self.value)
