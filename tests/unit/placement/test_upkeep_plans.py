"""What is healed, given back and mirrored, and what is left alone."""

from typing import Any

import pytest
from attrs import evolve
from unit_placement import allocation
from unit_records import NOW, UUID, flavor, instance, stored

from control.placement.upkeep.audit import GONE, NO_HOST, orphan_of
from control.placement.upkeep.heal import Healing, NoNode, healing_of
from control.placement.upkeep.known import Server, State
from control.placement.upkeep.mirrors import NO_MAPPING, NO_PROVIDER, Missing, Unmapped, missing_mirrors
from kv.keys import Global
from schemas.aggregate import Aggregate
from schemas.host import HostMapping
from schemas.placement import Provider
from schemas.server import InstanceMapping

NEEDS = {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1}
PROVIDERS = {"h1": "rp1", "h2": "rp2"}
HOSTS: dict[str, str | None] = {"rp1": "h1", "rp2": "h2", "child": None}


def server(state: State = "settled", holds: dict[str, dict[str, int]] | None = None, **more: Any) -> Server:
    mapping = stored(Global.INSTANCES(UUID), InstanceMapping(UUID, "p1", "u1", NOW, "cell1"))
    held = None
    if holds is not None:
        kind = more.pop("type", "INSTANCE")
        held = stored(Global.ALLOCATIONS(UUID), allocation(UUID, holds, type=kind))
    if state == "none":
        return Server(UUID, state, allocation=held)
    known = instance(flavor=flavor(), **more) if state == "settled" else None
    return Server(UUID, state, mapping, known, held)


@pytest.mark.parametrize(
    ("seen", "force", "wanted"),
    [
        (server(), False, {"rp1": NEEDS}),
        (server(host="h2"), False, {"rp2": NEEDS}),
        (server(holds={"rp1": NEEDS}), False, None),
        (server(holds={"rp2": NEEDS}), False, None),
        (server(holds={"rp2": NEEDS}), True, {"rp1": NEEDS}),
        (server(holds={"rp1": NEEDS}), True, None),
        (server(host=None), False, None),
        (server("moving"), False, None),
        (server("unreachable"), True, None),
        (server("none"), False, None),
    ],
)
def test_who_is_healed(seen: Server, force: bool, wanted: dict[str, dict[str, int]] | None) -> None:
    found = healing_of(seen, PROVIDERS, force=force)
    assert found == (wanted and Healing(seen, wanted))


def test_a_server_on_an_unknown_host_is_not_healed() -> None:
    assert healing_of(server(host="h9"), PROVIDERS, force=False) == NoNode(server(host="h9"))


@pytest.mark.parametrize(
    ("seen", "orphaned", "why"),
    [
        (server("none", {"rp1": NEEDS, "rp2": NEEDS}), ("rp1", "rp2"), GONE),
        (server(holds={"rp1": NEEDS}), None, ""),
        (server(holds={"rp1": NEEDS, "child": NEEDS}), None, ""),
        (server(holds={"rp1": NEEDS, "rp2": NEEDS}), ("rp2",), "the server is on h1"),
        (server(holds={"rp1": NEEDS}, host=None), ("rp1",), NO_HOST),
        (server(holds={"rp2": NEEDS}, type="MIGRATION"), None, ""),
        (server("none", {"rp1": NEEDS}, type="MIGRATION"), None, ""),
        (server("moving", {"rp2": NEEDS}), None, ""),
        (server("unreachable", {"rp2": NEEDS}), None, ""),
        (server(), None, ""),
    ],
)
def test_what_is_an_orphan(seen: Server, orphaned: tuple[str, ...] | None, why: str) -> None:
    found = orphan_of(seen, HOSTS)
    assert (found and (found.providers, found.why)) == (orphaned and (orphaned, why))


def test_orphans_of_one_provider() -> None:
    seen = server("none", {"rp1": NEEDS, "rp2": NEEDS})
    found = orphan_of(seen, HOSTS, "rp2")
    assert found
    assert found.providers == ("rp2",)
    assert orphan_of(seen, HOSTS, "child") is None


def test_which_mirrors_are_missing() -> None:
    aggregates = [
        Aggregate(1, "a1", "one", NOW, hosts=("h1", "h2", "h3", "h4")),
        Aggregate(2, "a2", "two", NOW, hosts=("h1",)),
    ]
    mappings = {host: HostMapping(host, "cell1", f"rp-{host}") for host in ("h1", "h2", "h4")}
    h1 = Provider("rp-h1", "h1", {}, aggregates=frozenset({"another"}))
    providers = {"rp-h1": h1, "rp-h2": evolve(h1, uuid="rp-h2", aggregates=frozenset({"a1"}))}
    assert missing_mirrors(aggregates, mappings, providers) == [
        Missing("h1", "rp-h1", frozenset({"a1", "a2"})),
        Unmapped("h3", NO_MAPPING),
        Unmapped("h4", NO_PROVIDER),
    ]
