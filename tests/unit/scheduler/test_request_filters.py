"""Request filters: what they add to a request, seen in which hosts are left."""

from typing import Any

import pytest
from unit_hosts import Sketch, aggregate, decided, names, options
from unit_records import flavor, spec

from control.scheduler.decide import Refusal
from schemas.server import ImageRef, RequestSpec

HOSTS = [Sketch("a", traits=frozenset({"X", "COMPUTE_IMAGE_TYPE_QCOW2"})), Sketch("b"), Sketch("c")]


def left(request: RequestSpec, *aggregates: Any, hosts: list[Sketch] | None = None, **scheduler: Any) -> str:
    found = decided(hosts or HOSTS, request, 9, aggregates=aggregates, settings=options(scheduler))
    return "".join(sorted(names(found))) if not isinstance(found, Refusal) else ""


def test_zones() -> None:
    zones = (aggregate(1, "a", availability_zone="az1"), aggregate(2, "b", availability_zone="az2"))
    assert left(spec(), *zones) == "abc"
    assert left(spec(availability_zone="az1"), *zones) == "a"
    assert left(spec(availability_zone="nova"), *zones) == "c", "the default zone is what no other zone has"
    assert left(spec(availability_zone="az3"), *zones) == ""
    assert left(spec(), *zones, default_schedule_zone="az2") == "b"
    assert left(spec(availability_zone="east"), *zones, default_availability_zone="east") == "c"
    found = decided(HOSTS, spec(availability_zone="az3"), aggregates=zones)
    assert isinstance(found, Refusal)
    assert found.text() == "0 of 3 hosts: 3 not in zone az3"


def test_tenants() -> None:
    mine = aggregate(1, "a", filter_tenant_id3="p1")
    asked = {"limit_tenants_to_placement_aggregate": True}
    assert left(spec(), mine) == "abc"
    assert left(spec(), mine, **asked) == "a"
    assert left(spec(project="p2"), mine, **asked) == "abc"
    assert left(spec(project="p2"), mine, **asked, placement_aggregate_required_for_tenants=True) == ""


def test_aggregates_that_require_traits_are_closed_to_others() -> None:
    licensed = aggregate(1, "ab", **{"trait:X": "required"})
    asked = {"enable_isolated_aggregate_filtering": True}
    with_x = spec(flavor=flavor(extra_specs={"trait:X": "required"}))
    assert left(spec(), licensed) == "abc"
    assert left(spec(), licensed, **asked) == "c"
    assert left(with_x, licensed, **asked) == "a"


@pytest.mark.parametrize(
    ("specs", "properties", "scheduler", "trait"),
    [
        ({"trait:X": "required"}, {}, {}, "X"),
        ({}, {"trait:X": "required"}, {}, "X"),
        ({"trait1:X": "required", "resources1:VCPU": "1"}, {}, {}, "X"),
        ({"accel:device_profile": "gpu"}, {}, {}, "COMPUTE_ACCELERATORS"),
        ({"hw:virtio_packed_ring": "True"}, {}, {}, "COMPUTE_NET_VIRTIO_PACKED"),
        ({}, {"hw_virtio_packed_ring": "yes"}, {}, "COMPUTE_NET_VIRTIO_PACKED"),
        ({"hw:ephemeral_encryption": "true"}, {}, {}, "COMPUTE_EPHEMERAL_ENCRYPTION"),
        ({}, {"hw_sound_model": "virtio"}, {}, "COMPUTE_SOUND_MODEL_VIRTIO"),
        (
            {"hw:tpm_version": "2.0", "hw:tpm_secret_security": "host"},
            {},
            {},
            "COMPUTE_SECURITY_TPM_SECRET_SECURITY_HOST",
        ),
        ({}, {"hw_disk_bus": "virtio"}, {"image_metadata_prefilter": True}, "COMPUTE_STORAGE_BUS_VIRTIO"),
        ({}, {"hw_vif_model": "ne2k-pci"}, {"image_metadata_prefilter": True}, "COMPUTE_NET_VIF_MODEL_NE2K_PCI"),
        ({}, {}, {"query_placement_for_image_type_support": True}, "COMPUTE_IMAGE_TYPE_RAW"),
    ],
)
def test_traits_that_are_required(
    specs: dict[str, str], properties: dict[str, str], scheduler: dict[str, Any], trait: str
) -> None:
    request = spec(flavor=flavor(extra_specs=specs), image=ImageRef("i", disk_format="raw", properties=properties))
    able = Sketch("able", traits=frozenset({trait}))
    assert names(decided([Sketch("plain"), able], request, settings=options(scheduler))) == ["able"]
    found = decided([Sketch("plain")], request, settings=options(scheduler))
    assert isinstance(found, Refusal)
    assert found.reasons == {f"miss trait {trait}": 1}


def test_traits_that_are_forbidden() -> None:
    assert left(spec(flavor=flavor(extra_specs={"trait:X": "forbidden"}))) == "bc"
    disabled = Sketch("d", traits=frozenset({"COMPUTE_STATUS_DISABLED"}))
    assert left(spec(), hosts=[disabled, Sketch("e")]) == "e"


def test_hosts_of_nova_are_asked_for_once_all_say_so() -> None:
    owned = [Sketch(n, traits=frozenset({"OWNER_NOVA"})) for n in "ab"]
    assert left(spec(), hosts=owned) == "ab"
    assert left(spec(), hosts=[*owned, Sketch("c")]) == "abc", "a site in the middle of an upgrade"


def test_groups_that_must_be_apart_find_no_host_of_one_provider() -> None:
    groups = {"resources1:VCPU": "1", "resources2:VCPU": "1"}
    assert left(spec(flavor=flavor(extra_specs={**groups, "group_policy": "none"}))) == "abc"
    found = decided(HOSTS, spec(flavor=flavor(extra_specs={**groups, "group_policy": "isolate"})))
    assert isinstance(found, Refusal)
    assert found.reasons == {"have no 2 providers apart from each other": 3}
