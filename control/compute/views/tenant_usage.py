"""What a project's servers used in a period."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from attrs import frozen

from control.compute.views.moments import micros
from schemas.server import Instance

Json = dict[str, Any]


@frozen
class Period:
    start: datetime
    stop: datetime
    now: datetime

    def touches(self, server: Instance) -> bool:
        """Whether the server ran at any time in it."""
        if server.launched is None or server.launched > self.stop:
            return False
        return server.terminated is None or server.terminated >= self.start

    def hours(self, server: Instance) -> float:
        if server.launched is None:
            return 0.0
        stop = min(self.stop, server.terminated or self.stop)
        return max(0.0, (stop - max(self.start, server.launched)).total_seconds() / 3600)


def usage(servers: Sequence[Instance], period: Period, *, detailed: bool) -> Json:
    """Of one project; `servers` is not empty."""
    lines = [_server(s, period) for s in servers]

    def total(size: str) -> float:
        return float(sum(line[size] * line["hours"] for line in lines))

    body: Json = {
        "tenant_id": servers[0].project,
        "start": micros(period.start),
        "stop": micros(period.stop),
        "total_hours": float(sum(line["hours"] for line in lines)),
        "total_vcpus_usage": total("vcpus"),
        "total_memory_mb_usage": total("memory_mb"),
        "total_local_gb_usage": total("local_gb"),
    }
    return {**body, "server_usages": lines} if detailed else body


def _server(server: Instance, period: Period) -> Json:
    flavor, launched = server.flavor, server.launched or period.stop
    return {
        "instance_id": server.uuid,
        "name": server.name,
        "tenant_id": server.project,
        "flavor": flavor.name,
        "vcpus": flavor.vcpus,
        "memory_mb": flavor.memory_mb,
        "local_gb": flavor.root_gb + flavor.ephemeral_gb,
        "hours": period.hours(server),
        "started_at": micros(server.launched),
        "ended_at": micros(server.terminated),
        "state": "terminated" if server.terminated else server.vm_state,
        "uptime": int(((server.terminated or period.now) - launched).total_seconds()),
    }
