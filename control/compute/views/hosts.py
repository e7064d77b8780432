"""Services, hypervisors and availability zones: all are views of hosts."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import orjson

from control.cells.hosts import HostView
from control.compute.schemas.common import words
from control.compute.views.moments import micros
from schemas.guest import HostFacts
from schemas.server import Instance

Json = dict[str, Any]

COMPUTE: Final = "nova-compute"
UPTIME_SINCE: Final = 88


def number(uuid: str) -> int:
    """The integer id of versions that know no uuids: 48 bits of the uuid, exact in every JSON reader."""
    return int(uuid.replace("-", "")[:12], 16)


def service_uuid(host: HostView) -> str:
    return host.service.uuid if host.service else host.mapping.uuid


def service_id(host: HostView, version: int) -> str | int:
    uuid = service_uuid(host)
    return uuid if version >= 53 else number(uuid)


def state(host: HostView) -> str:
    return "up" if host.alive and not host.mapping.forced_down else "down"


def status(host: HostView) -> str:
    return "disabled" if host.disabled else "enabled"


def service(host: HostView, version: int) -> Json:
    body: Json = {
        "id": service_id(host, version),
        "binary": COMPUTE,
        "host": host.mapping.host,
        "zone": host.zone,
        "status": status(host),
        "state": state(host),
        "updated_at": micros(host.service.updated) if host.service else None,
        "disabled_reason": host.reason,
    }
    return {**body, "forced_down": host.mapping.forced_down} if version >= 11 else body


def unreachable_service(host: HostView) -> Json:
    """What is known of a host whose cell does not answer, from 2.69 on."""
    return {"binary": COMPUTE, "host": host.mapping.host, "status": "UNKNOWN"}


def changed_service(host: HostView, what: str) -> Json:
    """The short answers of the PUTs below 2.53."""
    body: Json = {"host": host.mapping.host, "binary": COMPUTE}
    if what == "force-down":
        return {**body, "forced_down": host.mapping.forced_down}
    body["status"] = status(host)
    return {**body, "disabled_reason": host.mapping.disabled_reason} if what == "disable-log-reason" else body


def hypervisor_id(host: HostView, version: int) -> str | int:
    return host.mapping.uuid if version >= 53 else number(host.mapping.uuid)


def hypervisor_name(host: HostView) -> str:
    return host.host.facts.hypervisor_hostname if host.host else host.mapping.host


def brief_hypervisor(host: HostView, version: int) -> Json:
    return {
        "id": hypervisor_id(host, version),
        "hypervisor_hostname": hypervisor_name(host),
        "state": state(host),
        "status": status(host),
    }


def servers_of(servers: Iterable[Instance]) -> list[Json]:
    return [{"uuid": s.uuid, "name": s.instance_name} for s in servers]


def full_hypervisor(host: HostView, version: int, now: datetime) -> Json:
    """From 2.88 on a hypervisor tells its uptime and leaves sizes and use to placement."""
    facts = host.host.facts if host.host else None
    body = {
        **brief_hypervisor(host, version),
        "hypervisor_type": facts.hypervisor_type if facts else "",
        "hypervisor_version": facts.hypervisor_version if facts else 0,
        "host_ip": facts.host_ip if facts else "",
        "service": {
            "id": service_id(host, version),
            "host": host.mapping.host,
            "disabled_reason": host.reason,
        },
    }
    if version >= UPTIME_SINCE:
        return {**body, "uptime": uptime(host, now)}
    return {**body, "cpu_info": _cpu_info(facts, version), **_sizes(host)}


def uptime(host: HostView, now: datetime) -> str | None:
    """In the words of uptime(1), which clients take apart; None when the host is down or does not say."""
    booted = host.host.facts.booted if host.host else None
    if booted is None or state(host) == "down":
        return None
    minutes = max(0, int((now - booted).total_seconds())) // 60
    days, hours = divmod(minutes // 60, 24)
    whole = f"{days} days, " if days != 1 else "1 day, "
    return f" {now:%H:%M:%S} up {whole if days else ''}{hours:2d}:{minutes % 60:02d}"


def _cpu_info(facts: HostFacts | None, version: int) -> Any:
    info = facts.cpu_info if facts else {}
    return info if version >= 28 else orjson.dumps(info).decode()


def _sizes(host: HostView) -> Json:
    facts = host.host.facts if host.host else None
    vcpus, memory, disk = (facts.vcpus, facts.memory_mb, facts.local_gb) if facts else (0, 0, 0)
    used_memory, used_disk = host.usages.get("MEMORY_MB", 0), host.usages.get("DISK_GB", 0)
    return {
        "vcpus": vcpus,
        "vcpus_used": host.usages.get("VCPU", 0),
        "memory_mb": memory,
        "memory_mb_used": used_memory,
        "free_ram_mb": memory - used_memory,
        "local_gb": disk,
        "local_gb_used": used_disk,
        "free_disk_gb": disk - used_disk,
        "disk_available_least": disk - used_disk,
        "running_vms": host.instances,
        "current_workload": 0,
    }


def statistics(hosts: Sequence[HostView]) -> Json:
    """Sums over the enabled hosts."""
    shown = [_sizes(h) for h in hosts if not h.disabled]
    keys = shown[0].keys() if shown else _NO_SIZES
    return {"count": len(shown), **{k: sum(s[k] for s in shown) for k in keys}}


_NO_SIZES: Final = words(
    "vcpus vcpus_used memory_mb memory_mb_used free_ram_mb local_gb local_gb_used free_disk_gb disk_available_least "
    "running_vms current_workload"
)


def zones(hosts: Sequence[HostView], *, detail: bool) -> list[Json]:
    """Zones with an enabled host, then the others. The plain list names neither hosts nor the internal zone."""
    by_zone: dict[str, list[HostView]] = {}
    for host in sorted(hosts, key=lambda h: (h.disabled, h.zone)):
        by_zone.setdefault(host.zone, []).append(host)
    return [_zone(name, [h for h in inside if not h.disabled], detail) for name, inside in by_zone.items()]


def _zone(name: str, enabled: list[HostView], detail: bool) -> Json:
    body: Json = {"zoneName": name, "zoneState": {"available": bool(enabled)}, "hosts": None}
    if detail and enabled:
        body["hosts"] = {
            h.mapping.host: {
                COMPUTE: {
                    "available": h.alive and not h.mapping.forced_down,
                    "active": True,
                    "updated_at": micros(h.service.updated) if h.service else None,
                }
            }
            for h in enabled
        }
    return body
