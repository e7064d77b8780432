"""The judge of the chaos tests is itself judged: a sound site passes, each broken one is named."""

from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import evolve

from schemas.guest import GuestMark, GuestState, PowerState
from schemas.operation import Operation
from schemas.placement import Allocation, Inventory, Provider, Usages
from schemas.quota import QuotaUsage
from schemas.server import (
    Charge,
    FlavorCopy,
    HostedServer,
    Instance,
    InstanceMapping,
    RequestSpec,
    ServerIndex,
    time_key,
)
from schemas.topology import CellClaim, TopologyClaim
from tests.chaos.invariants import CellView, SiteView, violations

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FLAVOR = FlavorCopy("1", "tiny", vcpus=2, memory_mb=64, root_gb=1)
SERVER = Instance("uuid", "p", "u", "one", "one", NOW, NOW, FLAVOR, None, "active", host="h", node="h")
WHEN = time_key(SERVER.created_us, "uuid")
GUEST = GuestState("uuid", PowerState.RUNNING, GuestMark("site", "uuid", "p", 1, "boot"))
OPERATION = Operation("uuid", "boot", "spawn", NOW, NOW)
EMPTY = CellView({}, {}, {}, {}, {})
CELL = CellView(
    instances={f"instances/p/{WHEN}": SERVER},
    operations={},
    outbox={},
    by_host={"by-host/h/uuid": HostedServer("p", SERVER.created_us)},
    user_data={},
)
USED = Usages({"VCPU": 2, "MEMORY_MB": 64, "DISK_GB": 1})
PINNED = TopologyClaim((CellClaim(0, 0, 64, pins=((0, 3),), taken=frozenset({3})),))
SOUND = SiteView(
    mappings={"instances/uuid": InstanceMapping("uuid", "p", "u", NOW, "cell1", charge=Charge(1, 2, 64))},
    project_lines={f"projects/p/instances/{WHEN}": ServerIndex("p", "cell1")},
    all_lines={f"by-time/{WHEN}": ServerIndex("p")},
    requests={},
    specs={"specs/uuid": RequestSpec("uuid", "p", "u", FLAVOR, None)},
    operations={},
    allocations={
        "placement/allocations/uuid": Allocation(
            "uuid", "p", "u", {"rp": {"VCPU": 2, "MEMORY_MB": 64, "DISK_GB": 1}}, NOW
        )
    },
    providers={
        "placement/providers/rp": Provider(
            "rp", "h", {"VCPU": Inventory(2), "MEMORY_MB": Inventory(64), "DISK_GB": Inventory(1)}, host="h"
        )
    },
    usages={"placement/usages/rp": USED},
    quotas={"quotas/usage/p": QuotaUsage(1, 2, 64)},
    cells={"cell0": EMPTY, "cell1": CELL},
    guests={"h": (GUEST,), "other": ()},
)


def cell(**changes: Any) -> SiteView:
    return evolve(SOUND, cells={"cell0": EMPTY, "cell1": evolve(CELL, **changes)})


def server(**changes: Any) -> SiteView:
    return cell(instances={f"instances/p/{WHEN}": evolve(SERVER, **changes)})


BROKEN = {
    "an operation is left at the top": (
        evolve(SOUND, operations={"operations/1/uuid": OPERATION}),
        "top has operations",
    ),
    "an operation is left in the cell": (cell(operations={"operations/1/uuid": OPERATION}), "cell1 has operations"),
    "a request is left": (evolve(SOUND, requests={"requests/uuid": None}), "top has requests/uuid"),
    "a task goes on": (server(task_state="spawning"), "with task spawning"),
    "an error has no reason": (server(vm_state="error"), "ERROR without a fault"),
    "a server is in two cells": (evolve(SOUND, cells={"cell0": CELL, "cell1": CELL}), "is in 2 cells"),
    "a mapping has no server": (cell(instances={}), "mappings: uuid (cell1) is left over"),
    "a server has no mapping": (evolve(SOUND, mappings={}), "mappings: uuid (cell1) is missing"),
    "a line of a list is left": (
        evolve(SOUND, all_lines={**SOUND.all_lines, "by-time/1-x": ServerIndex("p")}),
        "lines of all projects: by-time/1-x",
    ),
    "a host's line is missing": (cell(by_host={}), "hosts' lines of cell1"),
    "an allocation is missing": (evolve(SOUND, allocations={}), "allocations: uuid"),
    "usages are not the sum": (evolve(SOUND, usages={"placement/usages/rp": Usages({"VCPU": 4})}), "usages: rp is"),
    "a host is overfull": (
        evolve(SOUND, usages={"placement/usages/rp": Usages({"VCPU": 3})}),
        "host h has 3 of 2 VCPU in use",
    ),
    "a processor is given twice": (
        evolve(SOUND, usages={"placement/usages/rp": evolve(USED, topology={"uuid": PINNED, "other": PINNED})}),
        "processor 3 of rp is given twice",
    ),
    "a processor was not given back": (
        evolve(SOUND, usages={"placement/usages/rp": evolve(USED, topology={"uuid": PINNED})}),
        "topology: uuid",
    ),
    "a server lies where the books do not say": (server(topology=PINNED), "topology: uuid"),
    "a charge was not given back": (evolve(SOUND, quotas={"quotas/usage/p": QuotaUsage(2, 4, 128)}), "quota: p is"),
    "a guest is missing": (evolve(SOUND, guests={"h": ()}), "guests: ('uuid', 'h') (True) is missing"),
    "a guest runs twice": (evolve(SOUND, guests={"h": (GUEST,), "other": (GUEST,)}), "guests: ('uuid', 'other')"),
    "a guest is off": (
        evolve(SOUND, guests={"h": (evolve(GUEST, power_state=PowerState.SHUTDOWN),)}),
        "is active, its guest has power state 4",
    ),
}


def test_a_sound_site_passes() -> None:
    assert violations(SOUND) == []


@pytest.mark.parametrize(("view", "named"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_one_is_named(view: SiteView, named: str) -> None:
    assert any(named in sentence for sentence in violations(view)), violations(view)
