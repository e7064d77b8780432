"""Resource providers."""

from control.placement.api.schemas.common import STRING, UUID
from control.placement.api.validation import Schema, Schemas, closed

_NAME: Schema = {"type": "string", "maxLength": 200}
_PARENT: Schema = {"anyOf": [UUID, {"type": "null"}]}
_FILTERS: dict[str, tuple[int, Schema]] = {
    "name": (0, STRING),
    "uuid": (0, UUID),
    "member_of": (3, STRING),
    "resources": (4, STRING),
    "in_tree": (14, UUID),
    "required": (18, STRING),
}
"""the version that each came with"""


def _create(version: int) -> Schema:
    parent = {"parent_provider_uuid": _PARENT} if version >= 14 else {}
    return closed({"name": _NAME, "uuid": UUID, **parent}, "name")


def _change(version: int) -> Schema:
    parent = {"parent_provider_uuid": _PARENT} if version >= 14 else {}
    return closed({"name": _NAME, **parent}, "name")


def _query(version: int) -> Schema:
    return closed({name: schema for name, (since, schema) in _FILTERS.items() if since <= version})


CREATE = Schemas(_create, (0, 14))
CHANGE = Schemas(_change, (0, 14))
LIST = Schemas(_query, (0, 3, 4, 14, 18), strict=True)
