"""Devices to pass through: aliases, pools, and where they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.placement.pci import PciRequest, pci_requests, without_devices
from schemas.errors import BadRequest
from schemas.topology import NumaCell, PciPool

GPU = '{"name": "gpu", "vendor_id": "10de", "product_id": "1db1", "device_type": "type-PCI"}'
NIC = '{"name": "nic", "vendor_id": "8086", "numa_policy": "required"}'


def asked(text: str, **more: str) -> tuple[PciRequest, ...]:
    return pci_requests({"pci_passthrough:alias": text, **more}, (GPU, NIC))


def pool(free: int, node: int | None = None, vendor: str = "10de", product: str = "1db1") -> PciPool:
    return PciPool(vendor, product, free, numa_node=node)


def test_aliases() -> None:
    gpu, nic = asked("gpu:2, nic")
    assert (gpu.count, gpu.policy, dict(gpu.match)["product_id"]) == (2, "legacy", "1db1")
    assert (nic.count, nic.policy, dict(nic.match)) == (1, "required", {"vendor_id": "8086"})
    assert asked("nic:1", **{"hw:pci_numa_affinity_policy": "preferred"})[0].policy == "preferred"
    assert pci_requests({}, (GPU,)) == ()
    for bad in ("fpga:1", "gpu:0", "gpu:x", "gpu:1,"):
        with pytest.raises(BadRequest):
            asked(bad)
    for alias in ("{", "[]", '{"vendor_id": "1"}'):
        with pytest.raises(BadRequest):
            pci_requests({"pci_passthrough:alias": "gpu:1"}, (alias,))


@pytest.mark.parametrize(
    ("policy", "cells", "pools", "fits"),
    [
        ("legacy", None, [pool(1, 0)], True),
        ("legacy", [0], [pool(1, 0)], True),
        ("legacy", [0], [pool(1, None)], True),
        ("legacy", [0], [pool(1, 1)], False),
        ("required", [0], [pool(1, None)], False),
        ("required", [0, 1], [pool(1, 1)], True),
        ("socket", [0], [pool(1, 1)], False),
        ("preferred", [0], [pool(1, 1)], True),
        ("preferred", [0], [pool(1, 0, product="other")], False),
    ],
)
def test_where_devices_may_be(policy: str, cells: list[int] | None, pools: list[PciPool], fits: bool) -> None:
    requests = asked("gpu", **{"hw:pci_numa_affinity_policy": policy})
    assert (without_devices(pools, requests, cells) is not None) == fits


def test_near_devices_go_first_and_guests_without_cells_leave_them() -> None:
    pools = [pool(2, 1), pool(2, None), pool(2, 0)]
    left = without_devices(pools, asked("gpu:3"), [0])
    assert left
    assert [p.free for p in left] == [2, 1, 0]
    left = without_devices(pools, asked("gpu:2"), None)
    assert left
    assert [p.free for p in left] == [2, 0, 2]


pools = st.lists(
    st.builds(pool, st.integers(0, 3), st.sampled_from([None, 0, 1]), st.sampled_from(["10de", "8086"])), max_size=4
)


@given(
    pools, st.integers(1, 4), st.sampled_from(["legacy", "required", "preferred"]), st.sampled_from([None, [0], [0, 1]])
)
def test_as_many_as_are_asked_for_are_taken_or_none(
    there: list[PciPool], count: int, policy: str, cells: list[int] | None
) -> None:
    requests = asked(f"gpu:{count}", **{"hw:pci_numa_affinity_policy": policy})
    usable = [
        p
        for p in there
        if p.vendor_id == "10de"
        and (
            cells is None
            or policy == "preferred"
            or p.numa_node in cells
            or (policy == "legacy" and p.numa_node is None)
        )
    ]
    left = without_devices(there, requests, cells)
    assert (left is not None) == (sum(p.free for p in usable) >= count)
    if left is not None:
        assert sum(p.free for p in there) - sum(p.free for p in left) == count
        assert all(after.free == before.free for before, after in zip(there, left, strict=True) if before not in usable)


def test_physical_functions_and_vdpa_are_for_those_who_ask_for_them() -> None:
    for kind in ("type-PF", "vdpa", "type-VF"):
        there = PciPool("10de", "1db1", 1, kind)  # type: ignore[arg-type]  # each is one of the literals
        match = {"vendor_id": "10de"}
        typed = PciRequest("nic", 1, {**match, "device_type": kind})
        assert without_devices([there], [typed], None) is not None
        assert (without_devices([there], [PciRequest("nic", 1, match)], None) is not None) == (kind == "type-VF")


def test_a_socket_has_several_cells() -> None:
    host = [NumaCell(0, 1, socket=0), NumaCell(1, 1, socket=0), NumaCell(2, 1, socket=1), NumaCell(3, 1)]
    request = PciRequest("gpu", 1, {}, "socket")
    fits = {node: without_devices([pool(1, node)], [request], [0], host) is not None for node in range(4)}
    assert fits == {0: True, 1: True, 2: False, 3: False}
    assert without_devices([pool(1, 1)], [request], [3], host) is None


def test_the_image_may_say_how_near() -> None:
    specs = {"pci_passthrough:alias": "gpu:1"}
    alias = '{"name": "gpu", "vendor_id": "10de", "numa_policy": "preferred"}'
    (request,) = pci_requests(specs, (alias,), {"hw_pci_numa_affinity_policy": "required"})
    assert request.policy == "required"
    with pytest.raises(BadRequest, match="not permitted to override the 'pci_numa_affinity_policy'"):
        pci_requests(
            specs | {"hw:pci_numa_affinity_policy": "legacy"}, (alias,), {"hw_pci_numa_affinity_policy": "required"}
        )
