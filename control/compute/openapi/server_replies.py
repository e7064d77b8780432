"""What answers about servers look like, by microversion."""

from collections.abc import Callable
from typing import Any, Final

from control.compute.openapi.common import OWN_LINKS, named
from control.compute.views.servers import (
    EXTENSION_FIELDS,
    FIELDS,
    IMAGE_PROPERTIES_SINCE,
    LEFT_OUT_WHEN_NONE,
    SINGLE_FIELDS,
)
from control.compute.views.status import KNOWN, UNKNOWN
from control.openapi.shapes import (
    ANYTHING,
    BOOLEAN,
    INTEGER,
    LINKS,
    MICROS,
    NEXT,
    NULL,
    NUMBER,
    SECONDS,
    STRING,
    UUID,
    array,
    either,
    mapping,
    nullable,
    obj,
    one_of,
    page,
    partly,
)

Schema = dict[str, Any]

DOWN_CELLS_SINCE: Final = 69
STANDARD_DIAGNOSTICS_SINCE: Final = 48
FULL_PUT_SINCE: Final = 75
EMBEDDED_FLAVOR_SINCE: Final = 47

_ADDRESS: Final = {"version": {"type": "integer", "enum": [4, 6]}, "addr": STRING}
_FAULT: Final = obj({"code": INTEGER, "created": SECONDS, "message": STRING}, details=STRING)
_METADATA: Final = mapping({"type": "string", "maxLength": 255})
_FLAVOR_LINK: Final = obj({"id": STRING, "links": LINKS})
_FLAVOR: Final = obj(
    {
        "vcpus": INTEGER,
        "ram": INTEGER,
        "disk": INTEGER,
        "ephemeral": INTEGER,
        "swap": INTEGER,
        "original_name": STRING,
    },
    extra_specs=mapping(STRING),
)
_TAGS: Final = array({"type": "string", "minLength": 1, "maxLength": 60})
_GROUPS: Final = array(named("name"))

FIELD_SHAPES: Final[dict[str, Schema]] = {
    "id": UUID,
    "name": STRING,
    "status": one_of(*sorted(KNOWN), UNKNOWN),
    "tenant_id": STRING,
    "user_id": STRING,
    "metadata": _METADATA,
    "hostId": {"type": "string", "pattern": "^([0-9a-f]{56})?$"},
    "created": SECONDS,
    "updated": SECONDS,
    "addresses": mapping(
        array(obj({**_ADDRESS, "OS-EXT-IPS:type": one_of("fixed", "floating"), "OS-EXT-IPS-MAC:mac_addr": STRING}))
    ),
    "accessIPv4": STRING,
    "accessIPv6": STRING,
    "links": OWN_LINKS,
    "OS-DCF:diskConfig": one_of("AUTO", "MANUAL"),
    "fault": _FAULT,
    "progress": {"type": "integer", "minimum": 0, "maximum": 100},
    "locked": BOOLEAN,
    "locked_reason": nullable(STRING),
    "description": nullable(STRING),
    "tags": _TAGS,
    "trusted_image_certificates": nullable(array(STRING)),
    "OS-EXT-AZ:availability_zone": STRING,
    "config_drive": one_of("True", ""),
    "key_name": nullable(STRING),
    "OS-SRV-USG:launched_at": nullable(MICROS),
    "OS-SRV-USG:terminated_at": nullable(MICROS),
    "security_groups": _GROUPS,
    "OS-EXT-STS:task_state": nullable(STRING),
    "OS-EXT-STS:vm_state": STRING,
    "OS-EXT-STS:power_state": {"type": "integer", "enum": [0, 1, 3, 4, 6, 7]},
    "os-extended-volumes:volumes_attached": array(ANYTHING),
    "host_status": one_of("UP", "DOWN", "MAINTENANCE", UNKNOWN, ""),
    "OS-EXT-SRV-ATTR:host": nullable(STRING),
    "OS-EXT-SRV-ATTR:hypervisor_hostname": nullable(STRING),
    "OS-EXT-SRV-ATTR:instance_name": STRING,
    "OS-EXT-SRV-ATTR:reservation_id": STRING,
    "OS-EXT-SRV-ATTR:launch_index": INTEGER,
    "OS-EXT-SRV-ATTR:hostname": STRING,
    "OS-EXT-SRV-ATTR:kernel_id": STRING,
    "OS-EXT-SRV-ATTR:ramdisk_id": STRING,
    "OS-EXT-SRV-ATTR:root_device_name": STRING,
    "OS-EXT-SRV-ATTR:user_data": nullable(STRING),
    "pinned_availability_zone": nullable(STRING),
    "scheduler_hints": mapping(ANYTHING),
    "server_groups": array(UUID),
}
"""But for `image` and `flavor`, which versions change"""


def _image(version: int) -> Schema:
    shown = {"id": STRING, "links": LINKS}
    if version >= IMAGE_PROPERTIES_SINCE:
        shown["properties"] = mapping(STRING)
    return either(obj(shown), one_of(""))


def _full(version: int, *, extended: bool = True, single: bool = True) -> Schema:
    """Every field that the version has; those that policy hides are optional."""
    shapes = {
        **FIELD_SHAPES,
        "image": _image(version),
        "flavor": _FLAVOR if version >= EMBEDDED_FLAVOR_SINCE else _FLAVOR_LINK,
    }
    fields = FIELDS + (EXTENSION_FIELDS if extended else ()) + (SINGLE_FIELDS if single else ())
    spoken = [f for f in fields if f.since <= version and (f.until is None or version <= f.until)]
    optional = {f.name for f in spoken if f.needs} | LEFT_OUT_WHEN_NONE
    return partly({f.name: shapes[f.name] for f in spoken}, optional)


def _unreachable(version: int, *, single: bool) -> Schema:
    """Of a server whose cell does not answer."""
    shown = {
        "id": UUID,
        "status": one_of(UNKNOWN),
        "tenant_id": STRING,
        "created": SECONDS,
        "links": OWN_LINKS,
    }
    if single:
        shown |= {
            "user_id": STRING,
            "image": _image(version),
            "flavor": _FLAVOR,
            "OS-EXT-AZ:availability_zone": STRING,
            "OS-EXT-STS:power_state": {"type": "integer", "const": 0},
        }
        shown |= {"server_groups": array(UUID)} if version >= 71 else {}
    return obj(shown)


def _server(version: int, *, single: bool) -> Schema:
    full = _full(version, single=single)
    return either(full, _unreachable(version, single=single)) if version >= DOWN_CELLS_SINCE else full


def show(version: int) -> Schema:
    return obj({"server": _server(version, single=True)})


def update(version: int) -> Schema:
    return show(version) if version >= FULL_PUT_SINCE else obj({"server": _full(version, extended=False)})


def brief_list(version: int) -> Schema:
    """From 2.69 on there are also servers whose cell does not answer."""
    brief = obj({"id": UUID, "name": STRING, "links": OWN_LINKS})
    unreachable = obj({"id": UUID, "status": one_of(UNKNOWN), "links": OWN_LINKS})
    return page("servers", either(brief, unreachable) if version >= DOWN_CELLS_SINCE else brief)


def detail(version: int) -> Schema:
    return page("servers", _server(version, single=False))


def create(_: int) -> Schema:
    made = {"id": UUID, "links": OWN_LINKS, "OS-DCF:diskConfig": one_of("AUTO", "MANUAL"), "security_groups": _GROUPS}
    return either(obj({"server": obj(made, adminPass=STRING)}), obj({"reservation_id": STRING}))


def metadata(_: int) -> Schema:
    return obj({"metadata": _METADATA})


def meta(_: int) -> Schema:
    return obj({"meta": {**_METADATA, "minProperties": 1, "maxProperties": 1}})


def tags(_: int) -> Schema:
    return obj({"tags": _TAGS})


def addresses(_: int) -> Schema:
    return obj({"addresses": mapping(array(obj(_ADDRESS)))})


def network(_: int) -> Schema:
    return mapping(array(obj(_ADDRESS)), minProperties=1, maxProperties=1)


def topology(_: int) -> Schema:
    return obj({"nodes": array(mapping(ANYTHING)), "pagesize_kb": nullable(INTEGER)})


def password(_: int) -> Schema:
    return obj({"password": STRING})


def console(_: int) -> Schema:
    return obj({"output": STRING})


_COUNT: Final = nullable(INTEGER)
_MEASURED: Final = nullable(NUMBER)


def diagnostics(version: int) -> Schema:
    if version < STANDARD_DIAGNOSTICS_SINCE:
        return mapping(NUMBER)
    nic = {"mac_address": STRING}
    for way in ("rx", "tx"):
        nic |= {f"{way}_{what}": _COUNT for what in ("octets", "errors", "drop", "packets")}
        nic[f"{way}_rate"] = NULL
    disk = dict.fromkeys(("read_bytes", "read_requests", "write_bytes", "write_requests", "errors_count"), _COUNT)
    return obj(
        {
            "state": one_of("pending", "running", "paused", "shutdown", "crashed", "suspended"),
            "driver": STRING,
            "hypervisor": nullable(STRING),
            "hypervisor_os": nullable(STRING),
            "uptime": _COUNT,
            "config_drive": BOOLEAN,
            "num_cpus": INTEGER,
            "num_nics": INTEGER,
            "num_disks": INTEGER,
            "memory_details": obj({"maximum": _COUNT, "used": _COUNT}),
            "cpu_details": array(obj({"id": _COUNT, "time": _COUNT, "utilisation": _MEASURED})),
            "nic_details": array(obj(nic)),
            "disk_details": array(obj(disk)),
        }
    )


def _action(version: int) -> Schema:
    shown = {
        "action": STRING,
        "instance_uuid": UUID,
        "request_id": STRING,
        "user_id": STRING,
        "project_id": STRING,
        "start_time": MICROS,
        "message": nullable(STRING),
    }
    return {**shown, "updated_at": MICROS} if version >= 58 else shown


def actions(version: int) -> Schema:
    return partly({"instanceActions": array(obj(_action(version))), "links": NEXT}, {"links"})


def action(version: int) -> Schema:
    event = {
        "event": STRING,
        "start_time": MICROS,
        "finish_time": nullable(MICROS),
        "result": nullable(STRING),
        "traceback": nullable(STRING),
    }
    optional = {"traceback"}
    if version >= 62:
        event |= {"hostId": STRING, "host": nullable(STRING)}
        optional.add("host")
    if version >= 84:
        event["details"] = nullable(STRING)
        optional.add("details")
    whole = {**_action(version), "events": array(partly(event, optional))}
    return obj({"instanceAction": partly(whole, set() if version >= 51 else {"events"})})


def nothing_in(name: str) -> Callable[[int], Schema]:
    """A list of what no server has in this release."""
    return lambda _: obj({name: array(mapping(ANYTHING))})


def one(name: str, *keys: str) -> Callable[[int], Schema]:
    """A body that this release never answers with."""
    return lambda _: obj({name: obj(dict.fromkeys(keys, STRING)) if keys else mapping(ANYTHING)})
