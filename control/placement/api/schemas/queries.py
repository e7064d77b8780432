"""Queries of usages and allocation candidates."""

from control.placement.api.schemas.common import CLASS_KEY, NAMED, NUMBERED, OWNER, STRING
from control.placement.api.validation import Schema, Schemas, closed

_LIMIT: Schema = {"type": ["integer", "string"], "pattern": "^[1-9][0-9]*$", "minimum": 1, "minLength": 1}
_TYPE: Schema = {"type": "string", "pattern": f"{CLASS_KEY}|^all|^unknown$", "minLength": 1, "maxLength": 255}


def _usages(version: int) -> Schema:
    kind = {"consumer_type": _TYPE} if version >= 38 else {}
    return closed({"project_id": OWNER, "user_id": OWNER, **kind}, "project_id")


def _candidates(version: int) -> Schema:
    if version < 25:
        since = {"resources": (10, STRING), "limit": (16, _LIMIT), "required": (17, STRING), "member_of": (21, STRING)}
        return closed({name: schema for name, (first, schema) in since.items() if first <= version}, "resources")
    made = closed({"limit": _LIMIT, "group_policy": {"type": "string", "enum": ["none", "isolate"]}})
    grouped = ["resources", "required", "member_of"] + (["in_tree"] if version >= 31 else [])
    suffix = NAMED if version >= 33 else NUMBERED
    made["patternProperties"] = {f"^{name}({suffix})?$": STRING for name in grouped}
    if version >= 35:
        made["properties"]["root_required"] = STRING
    if version >= 36:
        made["properties"]["same_subtree"] = STRING
    return made


USAGES = Schemas(_usages, (9, 38), strict=True)
CANDIDATES = Schemas(_candidates, (10, 16, 17, 21, 25, 31, 33, 35, 36), strict=True)
