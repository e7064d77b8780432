"""Bodies and queries of flavors, their extra specs and their access."""

from typing import Any, Final

from control.compute.schemas import common as c
from control.compute.validation import Schemas, constant, stricter

Schema = dict[str, Any]

MAX_INT: Final = 2**31 - 1
_SIZE: Final[Schema] = {**c.NON_NEGATIVE, "maximum": MAX_INT}
_POSITIVE: Final[Schema] = {**c.COUNT, "maximum": MAX_INT}
_SPEC_KEY: Final = "^[a-zA-Z0-9-_:. ]{1,255}$"
_SPECS: Final[Schema] = {
    "type": "object",
    "patternProperties": {_SPEC_KEY: {"type": ["string", "number"], "maxLength": 255}},
    "additionalProperties": False,
}


def _create(version: int) -> Schema:
    flavor = {
        "name": c.NAME,
        "id": {
            "type": ["string", "number", "null"],
            "minLength": 1,
            "maxLength": 255,
            "pattern": r"^(?! )[a-zA-Z0-9. _-]+(?<! )$",
        },
        "ram": _POSITIVE,
        "vcpus": _POSITIVE,
        "disk": _SIZE,
        "OS-FLV-EXT-DATA:ephemeral": _SIZE,
        "swap": _SIZE,
        "rxtx_factor": {
            "type": ["number", "string"],
            "pattern": r"^[0-9]+(\.[0-9]+)?$",
            "minimum": 0,
            "exclusiveMinimum": 0,
            "maximum": 3.40282e38,
        },
        "os-flavor-access:is_public": c.BOOLEAN,
        **({"description": {"type": ["string", "null"], "maxLength": 65535}} if version >= 55 else {}),
    }
    return c.body("flavor", c.fields(flavor, "name", "ram", "vcpus", "disk"))


CREATE: Final = Schemas(_create, (1, 55))
UPDATE: Final = constant(
    c.body("flavor", c.fields({"description": {"type": ["string", "null"], "maxLength": 65535}}, "description"))
)
LIST: Final = stricter(
    {
        **c.PAGE,
        "is_public": c.ANY,
        "minRam": c.ANY,
        "minDisk": c.ANY,
        "sort_key": c.many(
            {
                "type": "string",
                "enum": c.words(
                    "created_at description disabled ephemeral_gb flavorid id is_public memory_mb name root_gb "
                    "rxtx_factor swap updated_at vcpu_weight vcpus"
                ),
            }
        ),
        "sort_dir": c.many({"type": "string", "enum": ["asc", "desc"]}),
    }
)
SPECS: Final = constant(c.body("extra_specs", _SPECS))
SPEC: Final = constant({**_SPECS, "minProperties": 1, "maxProperties": 1})
ADD_ACCESS: Final = constant(c.body("addTenantAccess", c.fields({"tenant": c.WORD}, "tenant")))
REMOVE_ACCESS: Final = constant(c.body("removeTenantAccess", c.fields({"tenant": c.WORD}, "tenant")))
