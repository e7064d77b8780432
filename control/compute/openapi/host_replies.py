"""What answers about services, hypervisors and zones look like, by microversion."""

from typing import Any, Final

from control.compute.openapi.common import named
from control.compute.views.hosts import COMPUTE, UPTIME_SINCE
from control.openapi.shapes import (
    ANYTHING,
    BOOLEAN,
    INTEGER,
    MICROS,
    NULL,
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

UUIDS_SINCE: Final = 53
_STATE: Final = one_of("up", "down")
_STATUS: Final = one_of("enabled", "disabled")
_SIZES: Final = [
    "vcpus",
    "vcpus_used",
    "memory_mb",
    "memory_mb_used",
    "free_ram_mb",
    "local_gb",
    "local_gb_used",
    "free_disk_gb",
    "disk_available_least",
    "running_vms",
    "current_workload",
]


def _id(version: int) -> Schema:
    return UUID if version >= UUIDS_SINCE else INTEGER


def _service(version: int) -> Schema:
    shown = {
        "id": _id(version),
        "binary": one_of(COMPUTE),
        "host": STRING,
        "zone": STRING,
        "status": _STATUS,
        "state": _STATE,
        "updated_at": nullable(MICROS),
        "disabled_reason": nullable(STRING),
    }
    return obj({**shown, "forced_down": BOOLEAN} if version >= 11 else shown)


def services(version: int) -> Schema:
    """From 2.69 on there are also hosts whose cell does not answer."""
    unreachable = obj({"binary": one_of(COMPUTE), "host": STRING, "status": one_of("UNKNOWN")})
    one = either(_service(version), unreachable) if version >= 69 else _service(version)
    return obj({"services": array(one)})


def changed_service(version: int) -> Schema:
    if version >= UUIDS_SINCE:
        return obj({"service": _service(version)})
    changed = {
        "host": STRING,
        "binary": one_of(COMPUTE),
        "status": _STATUS,
        "disabled_reason": STRING,
        "forced_down": BOOLEAN,
    }
    return obj({"service": partly(changed, {"status", "disabled_reason", "forced_down"})})


def _brief(version: int) -> Schema:
    return {"id": _id(version), "hypervisor_hostname": STRING, "state": _STATE, "status": _STATUS}


_SERVERS: Final = {"servers": array(named("uuid", "name"))}
"""Of those who are asked for them, and below 2.75 only if there are some"""


def _full(version: int) -> Schema:
    shown = {
        **_brief(version),
        "hypervisor_type": STRING,
        "hypervisor_version": INTEGER,
        "host_ip": STRING,
        "service": obj({"id": _id(version), "host": STRING, "disabled_reason": nullable(STRING)}),
    }
    if version >= UPTIME_SINCE:
        shown["uptime"] = nullable(STRING)
    else:
        shown["cpu_info"] = mapping(ANYTHING) if version >= 28 else STRING
        shown |= dict.fromkeys(_SIZES, INTEGER)
    return obj(shown, **_SERVERS) if version >= UUIDS_SINCE else obj(shown)


def hypervisors(version: int) -> Schema:
    return page("hypervisors", obj(_brief(version), **_SERVERS))


def full_hypervisors(version: int) -> Schema:
    return page("hypervisors", _full(version))


def hypervisor(version: int) -> Schema:
    return obj({"hypervisor": _full(version)})


def uptime(version: int) -> Schema:
    return obj({"hypervisor": obj({**_brief(version), "uptime": STRING})})


def found_hypervisors(version: int) -> Schema:
    return obj({"hypervisors": array(obj(_brief(version), **_SERVERS))})


def statistics(_: int) -> Schema:
    return obj({"hypervisor_statistics": obj(dict.fromkeys(("count", *_SIZES), INTEGER))})


def zones(_: int) -> Schema:
    service = obj({"available": BOOLEAN, "active": BOOLEAN, "updated_at": nullable(MICROS)})
    zone = {
        "zoneName": STRING,
        "zoneState": obj({"available": BOOLEAN}),
        "hosts": either(NULL, mapping(mapping(service))),
    }
    return obj({"availabilityZoneInfo": array(obj(zone))})


def old_hosts(_: int) -> Schema:
    return obj({"hosts": array(named("host_name", "service", "zone"))})


def old_host(_: int) -> Schema:
    sizes = dict.fromkeys(("cpu", "memory_mb", "disk_gb"), INTEGER)
    return obj({"host": array(obj({"resource": obj({"host": STRING, "project": STRING, **sizes})}))})


def changed_old_host(_: int) -> Schema:
    return obj({"host": STRING, "status": _STATUS})


def audit_log(_: int) -> Schema:
    numbers = (
        "num_hosts",
        "num_hosts_done",
        "num_hosts_running",
        "num_hosts_not_run",
        "total_instances",
        "total_errors",
    )
    texts = dict.fromkeys(("period_beginning", "period_ending", "overall_status"), STRING)
    return obj({**texts, **dict.fromkeys(numbers, INTEGER), "hosts_not_run": array(STRING), "log": mapping(ANYTHING)})
