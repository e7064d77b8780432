"""Bodies and queries of os-hosts."""

from typing import Any, Final

from control.compute.schemas import common as c
from control.compute.validation import constant

Schema = dict[str, Any]

_SWITCH: Final[Schema] = {
    "type": "string",
    "enum": ["enable", "disable", "Enable", "Disable", "ENABLE", "DISABLE"],
}

LIST: Final = constant(c.query({"zone": c.ANY}))
UPDATE: Final = constant(
    {
        **c.fields({"status": _SWITCH, "maintenance_mode": _SWITCH}),
        "anyOf": [{"required": ["status"]}, {"required": ["maintenance_mode"]}],
    }
)
