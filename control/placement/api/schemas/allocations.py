"""What consumers shall hold."""

from control.placement.api.schemas.common import CLASS_KEY, GENERATION, NAMED, OWNER, STRING, UUID, UUID_KEY
from control.placement.api.validation import Schema, Schemas, closed

_RESOURCES: Schema = {
    "type": "object",
    "minProperties": 1,
    "patternProperties": {CLASS_KEY: {"type": "integer", "minimum": 1}},
    "additionalProperties": False,
}
_LIST: Schema = {
    "type": "array",
    "minItems": 1,
    "items": closed(
        {"resource_provider": closed({"uuid": UUID}, "uuid"), "resources": _RESOURCES}, "resource_provider", "resources"
    ),
}
"""before 1.12"""
_CONSUMER_GENERATION: Schema = {"type": ["integer", "null"]}
_MAPPINGS: Schema = {
    "type": "object",
    "minProperties": 1,
    "patternProperties": {NAMED: {"type": "array", "minItems": 1, "items": UUID}},
}
_TYPE: Schema = {**STRING, "pattern": CLASS_KEY, "minLength": 1, "maxLength": 255}


def _by_provider(least: int) -> Schema:
    return {
        "type": "object",
        "minProperties": least,
        "patternProperties": {UUID_KEY: closed({"generation": GENERATION, "resources": _RESOURCES}, "resources")},
        "additionalProperties": False,
    }


def _one(version: int, least: int) -> Schema:
    """A consumer's; `least` is how many providers it must name."""
    properties: Schema = {"allocations": _by_provider(least) if version >= 12 else _LIST}
    required = ["allocations"]
    if version >= 8:
        properties |= {"project_id": OWNER, "user_id": OWNER}
        required += ["project_id", "user_id"]
    if version >= 28:
        properties["consumer_generation"] = _CONSUMER_GENERATION
        required.append("consumer_generation")
    if version >= 34:
        properties["mappings"] = _MAPPINGS
    if version >= 38:
        properties["consumer_type"] = _TYPE
        required.append("consumer_type")
    return closed(properties, *required)


def by_consumer(version: int, least: int) -> Schema:
    """Several consumers'; `least` is how many there must be."""
    return {
        "type": "object",
        "minProperties": least,
        "additionalProperties": False,
        "patternProperties": {UUID_KEY: _one(version, 0)},
    }


SET_ONE = Schemas(lambda version: _one(version, 0 if version >= 28 else 1), (0, 8, 12, 28, 34, 38))
SET_MANY = Schemas(lambda version: by_consumer(version, 1), (13, 28, 34, 38))
