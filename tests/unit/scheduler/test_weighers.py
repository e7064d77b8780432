"""Weighers: which of two hosts comes first, and by which option."""

from collections import Counter
from typing import Any

import pytest
from attrs import evolve
from unit_hosts import Sketch, aggregate, asked, decided, model_of, names, options
from unit_records import NOW, facts, spec

from control.scheduler.decide import Taste, choose
from control.scheduler.pipeline import load_pipeline
from control.scheduler.weighers.table import BUILT_IN, UnknownWeigherError, load_weighers
from schemas.group import Policy, ServerGroup
from schemas.server import ImageRef
from schemas.settings import MetricsSettings, Settings
from schemas.topology import PciPool


def alone(name: str, **more: Any) -> Settings:
    """Only one weigher."""
    return options(enabled_weighers=(name,), **more)


@pytest.mark.parametrize(
    ("weigher", "first", "second", "off"),
    [
        ("RAMWeigher", {"memory": 20000}, {"memory": 10000}, {"ram_weight_multiplier": -1.0}),
        ("CPUWeigher", {"vcpu": 20}, {"vcpu": 10}, {"cpu_weight_multiplier": -1.0}),
        ("DiskWeigher", {"disk": 200}, {"disk": 100}, {"disk_weight_multiplier": -1.0}),
        ("IoOpsWeigher", {}, {"facts": facts(io_ops=3)}, {"io_ops_weight_multiplier": 1.0}),
        ("BuildFailureWeigher", {}, {"failed_builds": 1}, {"build_failure_weight_multiplier": -1.0}),
        (
            "HypervisorVersionWeigher",
            {"facts": facts(hypervisor_version=9)},
            {"facts": facts(hypervisor_version=8)},
            {"hypervisor_version_weight_multiplier": -1.0},
        ),
    ],
)
def test_what_is_better_and_how_it_is_turned_around(
    weigher: str, first: dict[str, Any], second: dict[str, Any], off: dict[str, float]
) -> None:
    hosts = [Sketch("worse", **second), Sketch("better", **first)]
    assert names(decided(hosts, spec(), settings=alone(weigher))) == ["better", "worse"]
    assert names(decided(hosts, spec(), settings=alone(weigher, **off))) == ["worse", "better"]


def test_a_failed_build_outweighs_all_room() -> None:
    hosts = [Sketch("empty", vcpu=64, memory=1 << 20, disk=9999, failed_builds=1), Sketch("small")]
    assert names(decided(hosts, spec())) == ["small", "empty"]


def test_the_number_of_instances_counts_only_when_asked_for() -> None:
    hosts = [Sketch("many", servers=frozenset("xyz")), Sketch("few", servers=frozenset("x"))]
    assert names(decided(hosts, spec(), settings=alone("NumInstancesWeigher"))) == ["many", "few"]
    fewest = alone("NumInstancesWeigher", num_instances_weight_multiplier=-1.0)
    assert names(decided(hosts, spec(), settings=fewest)) == ["few", "many"]


@pytest.mark.parametrize(
    ("policy", "weigher", "order"),
    [
        ("soft-affinity", "ServerGroupSoftAffinityWeigher", ["c", "b", "a"]),
        ("soft-anti-affinity", "ServerGroupSoftAntiAffinityWeigher", ["a", "b", "c"]),
    ],
)
def test_soft_policies(policy: Policy, weigher: str, order: list[str]) -> None:
    members = {"x": ("c",), "y": ("c",), "z": ("b",)}
    group = ServerGroup("g", "g", "p1", "u1", policy, NOW, members=members)
    hosts = [Sketch(n) for n in "abc"]
    assert names(decided(hosts, spec(group="g"), group=group, settings=alone(weigher))) == order


def test_moves_prefer_the_servers_own_cell() -> None:
    hosts = [Sketch("a", cell="cell1", vcpu=99), Sketch("b", cell="cell2")]
    model = model_of(hosts)
    request = evolve(asked(spec()), source_cell="cell2")
    assert names(choose(model, request, load_pipeline(request.settings), Taste(1))) == ["b", "a"]


def test_aggregates_override_multipliers_and_the_least_wins() -> None:
    hosts = [Sketch("a", memory=20000), Sketch("b", memory=10000)]
    only = alone("RAMWeigher")
    stack = (aggregate(1, "ab", ram_weight_multiplier="2"), aggregate(2, "ab", ram_weight_multiplier="-3"))
    assert names(decided(hosts, spec(), settings=only, aggregates=stack[:1])) == ["a", "b"]
    assert names(decided(hosts, spec(), settings=only, aggregates=stack)) == ["b", "a"]
    odd = aggregate(3, "ab", ram_weight_multiplier="much")
    assert names(decided(hosts, spec(), settings=only, aggregates=[odd])) == ["a", "b"]


def test_metrics_are_summed_by_their_ratios() -> None:
    hosts = [Sketch("hot", facts=facts(metrics={"t": 90.0})), Sketch("cold", facts=facts(metrics={"t": 20.0}))]
    settings = Settings(
        filter_scheduler=alone("MetricsWeigher").filter_scheduler,
        metrics=MetricsSettings(weight_setting=("t=-1.0",), required=False),
    )
    assert names(decided(hosts, spec(), settings=settings)) == ["cold", "hot"]
    assert names(decided([Sketch("silent"), *hosts], spec(), settings=settings)) == ["cold", "hot", "silent"]
    turned = aggregate(1, ["hot", "cold"], metrics_weight_multiplier="-1")
    assert names(decided(hosts, spec(), settings=settings, aggregates=[turned])) == ["hot", "cold"]


def test_hosts_with_devices_are_kept_and_beyond_many_all_are_alike() -> None:
    some = {n: (PciPool("10de", "1db1", n),) for n in (500, 100, 2)}
    hosts = [*(Sketch(f"host{n}", facts=facts(pci=pools)) for n, pools in some.items()), Sketch("none")]
    assert names(decided(hosts, spec(), settings=alone("PCIWeigher")))[:2] == ["none", "host2"]
    model = model_of(hosts)
    raw = BUILT_IN["PCIWeigher"].run(model, model.rows_of(["host500", "host100", "host2", "none"]), asked(spec()))
    assert raw.tolist() == [99, 99, 2, 0]


def test_images_with_the_same_properties_meet() -> None:
    model = model_of([Sketch("a"), Sketch("b")])
    model.set_servers("b", frozenset({"x"}), Counter({("os_type", "linux"): 1}))
    settings = alone("ImagePropertiesWeigher", image_props_weight_multiplier=1.0)
    request = asked(spec(image=ImageRef("i", properties={"os_type": "linux"})), settings)
    assert names(choose(model, request, load_pipeline(settings), Taste(1))) == ["b", "a"]


def test_every_weigher_of_nova_is_there_and_all_are_loaded() -> None:
    assert len(BUILT_IN) == 13
    assert list(load_weighers(())) == list(BUILT_IN)
    with pytest.raises(UnknownWeigherError, match="no weigher is called X"):
        load_weighers(("X",))
