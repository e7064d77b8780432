"""Hosts as os-hosts shows them."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

from control.cells.hosts import HostView
from schemas.server import Instance

Json = dict[str, Any]

SERVICE: Final = "compute"


def brief(host: HostView) -> Json:
    return {"host_name": host.mapping.host, "service": SERVICE, "zone": host.zone}


def resources(host: HostView, servers: Sequence[Instance]) -> list[Json]:
    """What the host has, what is claimed of it, and what the flavors of its servers come to: in all and by project."""
    facts, used, name = host.host.facts if host.host else None, host.usages, host.mapping.host
    total = (facts.vcpus, facts.memory_mb, facts.local_gb) if facts else (0, 0, 0)
    claimed = (used.get("VCPU", 0), used.get("MEMORY_MB", 0), used.get("DISK_GB", 0))
    lines = [_line(name, "(total)", *total), _line(name, "(used_now)", *claimed)]
    lines.append(_line(name, "(used_max)", *_sum(servers)))
    by_project = groupby(sorted(servers, key=lambda s: s.project), key=lambda s: s.project)
    return lines + [_line(name, project, *_sum(list(theirs))) for project, theirs in by_project]


def _sum(servers: Sequence[Instance]) -> tuple[int, int, int]:
    flavors = [server.flavor for server in servers]
    return (
        sum(f.vcpus for f in flavors),
        sum(f.memory_mb for f in flavors),
        sum(f.root_gb + f.ephemeral_gb for f in flavors),
    )


def _line(host: str, project: str, cpu: int, memory_mb: int, disk_gb: int) -> Json:
    return {
        "resource": {"host": host, "project": project, "cpu": cpu, "memory_mb": memory_mb, "disk_gb": disk_gb},
    }
