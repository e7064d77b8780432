"""Filters that look at more than the host's own facts: aggregates, groups, hints, counts, isolation, queries."""

from typing import Any

import pytest
from unit_hosts import Sketch, aggregate, decided, names, options, with_filters
from unit_records import NOW, UUID, facts, flavor, spec

from control.scheduler.decide import Refusal
from control.scheduler.filters.table import BUILT_IN
from schemas.group import Policy, ServerGroup
from schemas.server import ImageRef, RequestSpec
from schemas.settings import FilterSchedulerSettings, MetricsSettings, PciSettings, Settings
from schemas.topology import NumaCell, PciPool

HOSTS = [Sketch("a"), Sketch("b"), Sketch("c")]


def left(name: str, request: RequestSpec, *aggregates: Any, hosts: list[Sketch] | None = None, **more: Any) -> str:
    """The hosts that one filter leaves, joined."""
    found = decided(hosts or HOSTS, request, 9, aggregates=aggregates, settings=with_filters(name, **more))
    return "".join(sorted(names(found))) if not isinstance(found, Refusal) else ""


def reason(name: str, request: RequestSpec, *aggregates: Any, **more: Any) -> dict[str, int]:
    found = decided(HOSTS, request, aggregates=aggregates, settings=with_filters(name, **more))
    assert isinstance(found, Refusal), found
    return found.reasons


@pytest.mark.parametrize(
    ("specs", "hosts"),
    [
        ({}, "abc"),
        ({"ssd": "true"}, "a"),
        ({"aggregate_instance_extra_specs:ssd": "true"}, "a"),
        ({"aggregate_instance_extra_specs:tier": "<or> 1 <or> 2"}, "ab"),
        ({"tier": ">= 2"}, "b"),
        ({"hw:watchdog_action": "reset"}, "abc"),
        ({"aggregate_instance_extra_specs:rack:row": "7"}, "b"),
        ({"ssd": "no"}, ""),
    ],
)
def test_extra_specs_of_aggregates(specs: dict[str, str], hosts: str) -> None:
    some = (aggregate(1, "a", ssd="true", tier="1"), aggregate(2, "b", tier="2,3", **{"rack:row": "7"}))
    assert left("AggregateInstanceExtraSpecsFilter", spec(flavor=flavor(extra_specs=specs)), *some) == hosts


def test_aggregates_isolate_images_by_their_properties() -> None:
    some = (aggregate(1, "a", os_type="windows"), aggregate(2, "b", os_type="linux,bsd", other="x"))

    def of(**properties: str) -> RequestSpec:
        return spec(image=ImageRef("i", properties=properties))

    name = "AggregateImagePropertiesIsolation"
    assert left(name, of(os_type="windows"), *some) == "ac"
    assert left(name, of(os_type="bsd"), *some) == "bc"
    assert left(name, of(unheard_of="1"), *some) == "abc"
    scoped = {
        "aggregate_image_properties_isolation_namespace": "os",
        "aggregate_image_properties_isolation_separator": "_",
    }
    assert left(name, of(os_type="windows", other="y"), *some, **scoped) == "ac"
    assert left(name, of(other="y"), *some, **scoped) == "abc"
    assert left(name, of(other="y"), *some) == "ac"


def test_aggregates_isolate_tenants_flavors_and_counts() -> None:
    tenants = (aggregate(1, "a", filter_tenant_id="p1"), aggregate(2, "b", filter_tenant_id_2="p2, p3"))
    assert left("AggregateMultiTenancyIsolation", spec(), *tenants) == "ac"
    assert left("AggregateMultiTenancyIsolation", spec(project="p3"), *tenants) == "bc"
    types = (aggregate(1, "a", instance_type="tiny,small"), aggregate(2, "b", instance_type="huge"))
    assert left("AggregateTypeAffinityFilter", spec(), *types) == "ac"
    crowded = [Sketch("a", servers=frozenset("xyz")), Sketch("b", servers=frozenset("x")), Sketch("c")]
    assert left("NumInstancesFilter", spec(), hosts=crowded, max_instances_per_host=1) == "c"
    most = (aggregate(1, "a", max_instances_per_host="4"), aggregate(2, "b", max_instances_per_host="1,9"))
    assert left("AggregateNumInstancesFilter", spec(), *most, hosts=crowded, max_instances_per_host=2) == "ac"
    busy = [Sketch("a", facts=facts(io_ops=8)), Sketch("b", facts=facts(io_ops=3)), Sketch("c")]
    assert left("IoOpsFilter", spec(), hosts=busy) == "bc"
    ops = (aggregate(1, "a", max_io_ops_per_host="9"), aggregate(2, "b", max_io_ops_per_host="2"))
    assert left("AggregateIoOpsFilter", spec(), *ops, hosts=busy) == "ac"


def test_isolated_hosts_and_images() -> None:
    isolated = {"isolated_hosts": ("a",), "isolated_images": ("secret",)}
    secret, plain = spec(image=ImageRef("secret")), spec(image=ImageRef("plain"))
    assert left("IsolatedHostsFilter", secret, **isolated) == "a"
    assert left("IsolatedHostsFilter", plain, **isolated) == "bc"
    loose = {**isolated, "restrict_isolated_hosts_to_isolated_images": False}
    assert left("IsolatedHostsFilter", plain, **loose) == "abc"
    assert left("IsolatedHostsFilter", plain) == "abc"
    assert reason("IsolatedHostsFilter", secret, isolated_images=("secret",)) == {"not an isolated host": 3}


def grouped(policy: Policy, members: dict[str, tuple[str, ...]], limit: int | None = None) -> str:
    group = ServerGroup("g", "g", "p1", "u1", policy, NOW, limit, members)
    found = decided(HOSTS, spec(group="g"), 9, group=group)
    return "".join(sorted(names(found))) if not isinstance(found, Refusal) else ""


def test_server_groups() -> None:
    """A server's own claims do not count, since it may move."""
    assert grouped("anti-affinity", {"x": ("a",), "y": ()}) == "bc"
    assert grouped("anti-affinity", {UUID: ("a",), "y": ("b", "c")}) == "a"
    assert grouped("anti-affinity", {"x": ("a",), "y": ("a",), "z": ("b",)}, limit=2) == "bc"
    assert grouped("anti-affinity", {"x": ("a",), "y": ("b",), "z": ("c",)}) == ""
    assert grouped("affinity", {}) == grouped("affinity", {UUID: ("a",)}) == "abc"
    assert grouped("affinity", {"x": ("b",), "y": ()}) == "b"
    assert grouped("soft-affinity", {"x": ("b",)}) == grouped("soft-anti-affinity", {"x": ("b",)}) == "abc"


def test_hints_of_other_servers_and_of_networks() -> None:
    hinted = {"s1": frozenset({"a"}), "s2": frozenset({"b"})}

    def hosts(name: str, **hints: Any) -> str:
        request = spec(scheduler_hints=hints)
        found = decided(HOSTS, request, 9, settings=with_filters(name), hinted=hinted)
        return "".join(sorted(names(found)))

    assert hosts("DifferentHostFilter", different_host=["s1", "s2"]) == "c"
    assert hosts("DifferentHostFilter", different_host="s1") == "bc"
    assert hosts("SameHostFilter", same_host="s2") == "b"
    assert hosts("SameHostFilter", same_host=["s1", "unknown"]) == "a"
    nowhere = decided(
        HOSTS, spec(scheduler_hints={"same_host": "unknown"}), settings=with_filters("SameHostFilter"), hinted=hinted
    )
    assert isinstance(nowhere, Refusal)
    near = [Sketch("a", facts=facts(host_ip="10.0.0.9")), Sketch("b", facts=facts(host_ip="10.0.1.9"))]

    def around(**hints: str) -> str:
        return left("SimpleCIDRAffinityFilter", spec(scheduler_hints=hints), hosts=near)

    assert around(build_near_host_ip="10.0.0.1") == "a"
    assert around(build_near_host_ip="10.0.0.1", cidr="/16") == "ab"
    assert around(cidr="/30") == "ab"


@pytest.mark.parametrize(
    ("query", "hosts"),
    [
        ('["=", "$host", "a"]', "a"),
        (["not", ["=", "$host", "a", "a"]], "bc"),
        ('["and", [">=", "$free_ram_mb", 1024], ["in", "$host", "a", "b"]]', "ab"),
        ('["or", ["=", "$host", "b"], ["=", "$cpu_info.model", "none"]]', "b"),
        ('["=", "$hypervisor_type", "QEMU"]', "abc"),
        ('["<", "$unheard_of", 1]', ""),
        ('["or", ["<", "$unheard_of", 1], ["=", "$host", "c"]]', "c"),
        ('["=", "$host"]', ""),
        ('["in"]', ""),
        ('["in", "$host", "a", "c"]', "ac"),
        ('["not", ["=", "$host", "a"], ["=", 1, 1]]', "bc"),
        ('["and", ["not", ["=", "$host", "a"]], ["=", "$num_instances", 0]]', "bc"),
        ('["<", "$free_disk_mb", "much"]', ""),
        ('["xor", 1, 2]', ""),
        ("no json", ""),
        ("[]", "abc"),
    ],
)
def test_queries(query: Any, hosts: str) -> None:
    assert left("JsonFilter", spec(scheduler_hints={"query": query})) == hosts


def test_metrics() -> None:
    reporting = [Sketch("a", facts=facts(metrics={"cpu.percent": 0.5})), Sketch("b")]
    settings = Settings(
        filter_scheduler=FilterSchedulerSettings(enabled_filters=("MetricsFilter",)),
        metrics=MetricsSettings(weight_setting=("cpu.percent=-1.0",)),
    )
    assert names(decided(reporting, spec(), settings=settings)) == ["a"]
    assert left("MetricsFilter", spec(), hosts=reporting) == "ab"


def test_a_rebuild_runs_only_the_filters_that_look_at_images() -> None:
    """Nova's run_on_rebuild: the server is on the host already."""
    request = spec(image=ImageRef("i", properties={"hw_architecture": "aarch64"}))
    hosts = [Sketch("a", mapping={"disabled": True})]
    found = decided(hosts, request, rebuild=True)
    assert isinstance(found, Refusal)
    assert found.reasons == {"has no architecture aarch64": 1}
    assert names(decided(hosts, spec(), rebuild=True)) == ["a"]


def test_every_filter_of_nova_is_there() -> None:
    assert names(decided(HOSTS, spec(), settings=options(enabled_filters=("AllHostsFilter",)))) == ["a", "b", "c"]


def test_numa_cells_and_devices_are_found_together() -> None:
    cells = tuple(NumaCell(n, 8192, frozenset({4 * n, 4 * n + 1})) for n in range(2))
    gpu = (PciPool("10de", "1db1", 1, numa_node=1),)
    hosts = [
        Sketch("none"),
        Sketch("cells", facts=facts(topology=cells)),
        Sketch("both", facts=facts(topology=cells, pci=gpu)),
        Sketch("small", facts=facts(topology=cells[:1], pci=gpu)),
    ]
    settings = Settings(
        filter_scheduler=FilterSchedulerSettings(enabled_filters=("NUMATopologyFilter", "PciPassthroughFilter")),
        pci=PciSettings(alias=('{"name": "gpu", "vendor_id": "10de", "numa_policy": "required"}',)),
    )

    def left(**specs: str) -> set[str]:
        extra = {k.replace("__", ":"): v for k, v in specs.items()}
        request = spec(flavor=flavor(vcpus=2, memory_mb=1024, extra_specs=extra))
        found = decided(hosts, request, 9, settings=settings)
        return set() if isinstance(found, Refusal) else set(names(found))

    assert left() == {"none", "cells", "both", "small"}
    assert left(hw__numa_nodes="2") == {"cells", "both"}
    assert left(pci_passthrough__alias="gpu") == {"both", "small"}
    assert left(pci_passthrough__alias="gpu", hw__numa_nodes="1") == {"both"}, "near the devices"
    assert left(pci_passthrough__alias="unknown") == left(hw__numa_nodes="x") == set()


def test_every_filter_of_nova_has_its_name() -> None:
    assert len(BUILT_IN) == 22
