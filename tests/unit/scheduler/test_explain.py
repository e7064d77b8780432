"""Explanations: every reason of every host, what one reason alone costs, and how much room there is."""

from typing import Any

from attrs import evolve
from unit_hosts import Sketch, aggregate, asked, decided, model_of, options
from unit_records import facts, flavor, spec

from control.scheduler.decide import Refusal
from control.scheduler.explain import explain
from control.scheduler.pipeline import load_pipeline
from schemas.messages import Explained, Obstacle
from schemas.placement import Inventory
from schemas.server import ImageRef, RequestSpec
from schemas.topology import NumaCell


def told(hosts: list[Sketch], request: RequestSpec, *aggregates: Any, **more: Any) -> Explained:
    wanted = asked(request, options(), **more)
    return explain(model_of(hosts, aggregates), wanted, load_pipeline(wanted.settings))


FULL = {"VCPU": 14}


def test_hosts_are_counted_under_their_first_reason_and_spared_by_their_only_one() -> None:
    hosts = [
        Sketch("fits", traits=frozenset({"X"})),
        Sketch("plain"),
        Sketch("full", used=FULL, traits=frozenset({"X"})),
        Sketch("both", used=FULL),
        Sketch("off", mapping={"disabled": True}, traits=frozenset({"X"})),
    ]
    request = spec(flavor=flavor(vcpus=4, extra_specs={"trait:X": "required"}))
    found = told(hosts, request)
    assert (found.hosts, found.fitting, found.asked["VCPU"]) == (5, 1, 4)
    assert found.obstacles == (
        Obstacle("traits", "miss trait X", removed=2, alone=1),
        Obstacle(
            "capacity",
            "lack 4 VCPU",
            removed=1,
            alone=1,
            note="the most that a host has free is 16, the most that one gives to a server is 2147483647",
        ),
        Obstacle("ComputeFilter", "disabled", removed=1, alone=1),
    )
    refused = decided(hosts[1:], request)
    assert isinstance(refused, Refusal)
    assert refused.text() == "0 of 4 hosts: 2 miss trait X, 1 lack 4 VCPU, 1 disabled"


def test_the_best_are_told_with_the_parts_of_their_weights() -> None:
    found = told([Sketch("small", vcpu=8), Sketch("large", vcpu=32)], spec())
    assert [(h.host, h.weight, h.parts, h.times) for h in found.best] == [
        ("large", 1.0, {"CPUWeigher": 1.0}, 32),
        ("small", 0.0, {"CPUWeigher": 0.0}, 8),
    ]
    assert found.times == 40
    assert found.obstacles == ()


def test_filters_that_ask_each_host_are_told_too() -> None:
    hosts = [Sketch("arm", facts=facts(architectures=("aarch64",))), Sketch("x86"), Sketch("new", facts=None)]
    found = told(hosts, spec(image=ImageRef("i", properties={"hw_architecture": "x86_64"})))
    assert found.fitting == 1
    assert {(o.stage, o.reason, o.removed) for o in found.obstacles} == {
        ("ImagePropertiesFilter", "has no architecture x86_64", 1),
        ("host", "not fully reported yet", 1),
    }


def test_a_request_filter_may_say_no_by_itself() -> None:
    strict = {"limit_tenants_to_placement_aggregate": True, "placement_aggregate_required_for_tenants": True}
    request = asked(spec(), options(strict))
    found = explain(model_of([Sketch("a")]), request, load_pipeline(request.settings))
    assert found.obstacles == (Obstacle("request", "no aggregate is of the project", 1, 1),)


def test_zones_are_named() -> None:
    found = told([Sketch("a"), Sketch("b")], spec(availability_zone="az1"), aggregate(1, "a", availability_zone="az1"))
    assert [(o.stage, o.reason, o.alone) for o in found.obstacles] == [("aggregates", "not in zone az1", 1)]


def test_where_a_guest_would_lie_is_explained_whatever_filters_are_enabled() -> None:
    one = facts(topology=(NumaCell(0, 8192, dedicated=frozenset({1})),))
    host = Sketch("h", facts=one, inventories={"PCPU": Inventory(8)})
    pinned = spec(flavor=flavor(vcpus=2, extra_specs={"hw:cpu_policy": "dedicated"}))
    assert told([host], pinned).obstacles == (
        Obstacle("topology", "has no NUMA cells that hold it", removed=1, alone=1),
    )
    assert [o.stage for o in told([host], evolve(pinned, forced_host="h")).obstacles] == ["topology"]
