"""Records for unit tests: a server, its operation, a host, with what a test cares about set."""

from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import evolve

from kv.keys import Key
from kv.txn import Stored
from schemas.guest import GuestMark, GuestSpec, GuestState, HostFacts, PowerState
from schemas.operation import Operation
from schemas.server import FlavorCopy, Instance, RequestSpec

NOW = datetime(2030, 1, 2, 3, 4, 5, 678901, UTC)
UUID = "3f7c2f6e-9f0a-4a40-9c4c-0d6a3f3b7a11"


def flavor(**more: Any) -> FlavorCopy:
    return evolve(FlavorCopy("1", "tiny", vcpus=1, memory_mb=512, root_gb=1), **more)


def instance(**more: Any) -> Instance:
    """Active on h1."""
    base = Instance(
        uuid=UUID,
        project="p1",
        user="u1",
        name="web",
        hostname="web",
        created=NOW - timedelta(hours=1),
        updated=NOW - timedelta(minutes=1),
        flavor=flavor(),
        image=None,
        vm_state="active",
        power_state=PowerState.RUNNING,
        generation=4,
        attempt=2,
        host="h1",
        node="h1",
        launched=NOW - timedelta(minutes=30),
    )
    return evolve(base, **more)


def operation(kind: str, step: str = "command", **more: Any) -> Operation:
    base = Operation(
        server=UUID,
        kind=kind,
        step=step,
        started=NOW - timedelta(seconds=5),
        deadline=NOW + timedelta(minutes=5),
        request_id="req-1",
        user="u1",
        project="p1",
        created_us=instance().created_us,
        attempt=2,
        generation=4,
        host="h1",
    )
    return evolve(base, **more)


def stored(key: Key[Any], value: Any, revision: int = 7) -> Stored[Any]:
    return Stored(key, value, revision, revision - 1)


def spec(**more: Any) -> RequestSpec:
    return evolve(RequestSpec(UUID, "p1", "u1", flavor(), None), **more)


def facts(**more: Any) -> HostFacts:
    base = HostFacts(
        vcpus=8,
        memory_mb=16384,
        local_gb=100,
        hypervisor_type="QEMU",
        hypervisor_version=7002000,
        hypervisor_hostname="h1",
        host_ip="127.0.0.1",
    )
    return evolve(base, **more)


def mark(server: str = UUID, generation: int = 1, op: str = "boot/req-1/1") -> GuestMark:
    return GuestMark("kilonova", server, "p1", generation, op)


def guest(server: str = UUID, generation: int = 1, op: str = "boot/req-1/1") -> GuestSpec:
    return GuestSpec(
        mark=mark(server, generation, op),
        instance_name="instance-1",
        name="web",
        hostname="web",
        user="u1",
        vcpus=1,
        memory_mb=512,
        root_gb=1,
        ephemeral_gb=0,
        swap_mb=0,
        image=None,
    )


def running(**more: Any) -> GuestState:
    return evolve(GuestState(UUID, PowerState.RUNNING), **more)
