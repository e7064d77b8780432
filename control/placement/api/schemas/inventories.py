"""Inventories."""

from control.placement.api.schemas.common import CLASS_KEY, GENERATION, MAX_FLOAT, MAX_INT
from control.placement.api.validation import Schema, closed, constant


def _count(least: int) -> Schema:
    return {"type": "integer", "maximum": MAX_INT, "minimum": least}


_FIELDS: Schema = {
    "resource_provider_generation": GENERATION,
    "total": _count(1),
    "reserved": _count(0),
    "min_unit": _count(1),
    "max_unit": _count(1),
    "step_size": _count(1),
    "allocation_ratio": {"type": "number", "maximum": MAX_FLOAT},
}
_CLASS: Schema = {"type": "string", "pattern": CLASS_KEY}

WHOLE: Schema = closed(
    {
        "resource_provider_generation": GENERATION,
        "inventories": {"type": "object", "patternProperties": {CLASS_KEY: closed(_FIELDS, "total")}},
    },
    "resource_provider_generation",
    "inventories",
)
"""all inventories of a provider"""

ADD = constant(closed({**_FIELDS, "resource_class": _CLASS}, "total", "resource_class"))
UPDATE = constant(closed(_FIELDS, "total", "resource_provider_generation"))
REPLACE = constant(WHOLE)
