"""Bodies and queries of what servers have: volumes, consoles, migrations."""

from typing import Any, Final

from control.compute.schemas import common as c
from control.compute.validation import Schemas, constant, stricter

Schema = dict[str, Any]

VOLUMES: Final = stricter({"limit": c.LIMIT, "offset": c.LIMIT})

VNC: Final = constant(
    c.body("os-getVNCConsole", c.fields({"type": {"type": "string", "enum": ["novnc", "xvpvnc"]}}, "type"))
)
SPICE: Final = constant(
    c.body("os-getSPICEConsole", c.fields({"type": {"type": "string", "enum": ["spice-html5"]}}, "type"))
)
SERIAL: Final = constant(
    c.body("os-getSerialConsole", c.fields({"type": {"type": "string", "enum": ["serial"]}}, "type"))
)
FORCE_COMPLETE: Final = constant(c.body("force_complete", {"type": "null"}))


def _console(version: int) -> Schema:
    protocols = ["vnc", "spice", "rdp", "serial"]
    types = ["novnc", "xvpvnc", "spice-html5", "rdp-html5", "serial"]
    if version >= 8:
        protocols, types = [*protocols, "mks"], [*types, "webmks"]
    if version >= 99:
        types = [*types, "spice-direct"]
    kind: Schema = {"protocol": {"type": "string", "enum": protocols}, "type": {"type": "string", "enum": types}}
    return c.body("remote_console", c.fields(kind, "protocol", "type"))


_TIME: Final[Schema] = c.single({"type": "string", "format": "date-time"})


def _migrations(version: int) -> Schema:
    names = ("hidden", "host", "instance_uuid", "source_compute", "status", "migration_type")
    filters: Schema = dict.fromkeys(names, c.ANY)
    if version >= 59:
        filters |= {"limit": c.single(c.INTEGER), "marker": c.single({"type": "string"}), "changes-since": _TIME}
    if version >= 66:
        filters["changes-before"] = _TIME
    if version >= 80:
        filters |= dict.fromkeys(("user_id", "project_id"), c.single(c.WORD))
    return c.query(filters, strict=version >= 59)


CONSOLE: Final = Schemas(_console, (6, 8, 99))
MIGRATIONS: Final = Schemas(_migrations, (1, 59, 66, 80))
