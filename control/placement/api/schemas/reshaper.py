"""The reshaper's body."""

from control.placement.api.schemas.allocations import by_consumer
from control.placement.api.schemas.common import UUID_KEY
from control.placement.api.schemas.inventories import WHOLE
from control.placement.api.validation import Schema, Schemas, closed


def _reshape(version: int) -> Schema:
    inventories: Schema = {
        "type": "object",
        "patternProperties": {UUID_KEY: WHOLE},
        "minProperties": 1,
        "additionalProperties": False,
    }
    return closed({"inventories": inventories, "allocations": by_consumer(version, 0)}, "inventories", "allocations")


RESHAPE = Schemas(_reshape, (30, 34, 38))
