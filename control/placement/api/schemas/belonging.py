"""Traits and aggregates of providers, and the lists of traits."""

from control.placement.api.schemas.common import GENERATION, STRING, UUID
from control.placement.api.validation import Schema, Schemas, closed, constant

_AGGREGATES: Schema = {"type": "array", "items": UUID, "uniqueItems": True}
_TRAIT: Schema = {"type": "string", "minLength": 1, "maxLength": 255}


def _aggregates(version: int) -> Schema:
    if version < 19:
        return _AGGREGATES
    return closed(
        {"aggregates": _AGGREGATES, "resource_provider_generation": GENERATION},
        "aggregates",
        "resource_provider_generation",
    )


SET_AGGREGATES = Schemas(_aggregates, (1, 19))
SET_TRAITS = constant(
    closed(
        {"traits": {"type": "array", "items": _TRAIT}, "resource_provider_generation": GENERATION},
        "traits",
        "resource_provider_generation",
    )
)
LIST_TRAITS = constant(closed({"name": STRING, "associated": STRING}))
