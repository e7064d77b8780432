"""Bodies of aggregates."""

from typing import Any, Final

from control.compute.schemas import common as c
from control.compute.validation import constant

Schema = dict[str, Any]

ZONE: Final[Schema] = {**c.NAME, "pattern": "^[^:]*$"}
_ZONE_OR_NULL: Final[Schema] = {"anyOf": [ZONE, {"type": "null"}]}
_FIELDS: Final[Schema] = {"name": c.NAME, "availability_zone": _ZONE_OR_NULL}
_HOST: Final[Schema] = c.fields({"host": c.HOST}, "host")
_METADATA: Final[Schema] = {
    "type": "object",
    "patternProperties": {"^[a-zA-Z0-9-_:. ]{1,255}$": {"type": ["string", "null"], "maxLength": 255}},
    "additionalProperties": False,
}
_IMAGE: Final[Schema] = c.fields({"id": c.UUID}, "id")

CREATE: Final = constant(c.body("aggregate", c.fields(_FIELDS, "name")))
UPDATE: Final = constant(
    c.body("aggregate", {**c.fields(_FIELDS), "anyOf": [{"required": ["name"]}, {"required": ["availability_zone"]}]})
)
ADD_HOST: Final = constant(c.body("add_host", _HOST))
REMOVE_HOST: Final = constant(c.body("remove_host", _HOST))
SET_METADATA: Final = constant(c.body("set_metadata", c.fields({"metadata": _METADATA}, "metadata")))
CACHE_IMAGES: Final = constant(c.fields({"cache": {"type": "array", "minItems": 1, "items": _IMAGE}}, "cache"))
