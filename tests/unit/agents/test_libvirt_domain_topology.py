"""A guest's place on its host, in the XML of its domain: what Nova's libvirt driver would write."""

from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import pytest
from attrs import evolve

from agents.drivers.libvirt.domain_topology import NOWHERE, Place, check_place
from agents.drivers.libvirt.domain_xml import GuestFiles, domain_xml
from agents.drivers.libvirt.node_devices import addresses_in
from schemas.errors import HostError
from schemas.guest import GuestMark, GuestSpec
from schemas.settings import LibvirtSettings
from schemas.topology import CellClaim, NumaCell, Pages, TopologyClaim

SPEC = GuestSpec(
    mark=GuestMark("site-a", "6b0c9c0a-2f0e-4a53-8d7e-0d3f3b6f0a11", "project-1", 4, "op-9"),
    instance_name="instance-6b0c9c0a",
    name="web",
    hostname="web",
    user="u",
    vcpus=4,
    memory_mb=1024,
    root_gb=1,
    ephemeral_gb=0,
    swap_mb=0,
    image=None,
)
PAGES = (Pages(4, 262144), Pages(2048, 512))


def cpus(*numbers: int) -> frozenset[int]:
    return frozenset(numbers)


HOST = (NumaCell(0, 4096, cpus(0, 1), cpus(2, 3), pages=PAGES), NumaCell(1, 4096, cpus(4, 5), cpus(6, 7), pages=PAGES))
FLOATING = (CellClaim(0, 1, 512, shared=cpus(0, 1)), CellClaim(1, 0, 512, shared=cpus(2, 3)))
PINNED = CellClaim(0, 1, 1024, pins=((0, 7), (1, 6)), taken=cpus(6, 7))


def made(place: Place, kind: Literal["kvm", "qemu"] = "kvm") -> ElementTree.Element:
    files = GuestFiles(Path("/g/disk"), None, None, None, Path("/g/console.log"))
    return ElementTree.fromstring(domain_xml(SPEC, files, kind, LibvirtSettings(disk_cache="none"), place))


def all_of(domain: ElementTree.Element, path: str) -> list[dict[str, str]]:
    return [dict(element.attrib) for element in domain.findall(path)]


@pytest.mark.parametrize("kind", ["kvm", "qemu"])
def test_nothing_is_said_of_a_guest_without_a_place(kind: Literal["kvm", "qemu"]) -> None:
    domain = made(NOWHERE, kind)
    assert all_of(domain, "vcpu") == [{}]
    for path in ("cpu/numa", "numatune", "cputune", "memoryBacking", "devices/hostdev"):
        assert domain.find(path) is None


@pytest.mark.parametrize("kind", ["kvm", "qemu"])
def test_guests_without_cells_float_over_the_shared_set(kind: Literal["kvm", "qemu"]) -> None:
    domain = made(Place(floating=cpus(5, 0, 4)), kind)
    assert all_of(domain, "vcpu") == [{"cpuset": "0,4,5"}]
    assert domain.findtext("vcpu") == "4"
    assert domain.find("cputune") is None


def test_cells_that_float_over_the_hosts() -> None:
    domain = made(Place(FLOATING, HOST, floating=cpus(0, 1, 4, 5)))
    assert all_of(domain, "vcpu") == [{}]
    assert all_of(domain, "cpu/numa/cell") == [
        {"id": "0", "cpus": "0,1", "memory": "524288", "unit": "KiB"},
        {"id": "1", "cpus": "2,3", "memory": "524288", "unit": "KiB"},
    ]
    assert all_of(domain, "numatune/memory") == [{"mode": "strict", "nodeset": "0,1"}]
    assert all_of(domain, "numatune/memnode") == [
        {"cellid": "0", "mode": "strict", "nodeset": "1"},
        {"cellid": "1", "mode": "strict", "nodeset": "0"},
    ]
    assert all_of(domain, "cputune/vcpupin") == [
        {"vcpu": "0", "cpuset": "4,5"},
        {"vcpu": "1", "cpuset": "4,5"},
        {"vcpu": "2", "cpuset": "0,1"},
        {"vcpu": "3", "cpuset": "0,1"},
    ]
    assert all_of(domain, "cputune/emulatorpin") == [{"cpuset": "0,1,4,5"}]
    assert domain.find("memoryBacking") is None


def test_an_emulated_guest_floats_as_a_whole() -> None:
    domain = made(Place(FLOATING, HOST), "qemu")
    assert all_of(domain, "vcpu") == [{"cpuset": "0,1,4,5"}]
    assert domain.find("cputune") is None
    assert len(all_of(domain, "cpu/numa/cell")) == len(all_of(domain, "numatune/memnode")) == 2


def test_dedicated_processors_are_pinned_one_to_one() -> None:
    domain = made(Place((PINNED,), HOST))
    assert all_of(domain, "cputune/vcpupin") == [{"vcpu": "0", "cpuset": "7"}, {"vcpu": "1", "cpuset": "6"}]
    assert all_of(domain, "cputune/emulatorpin") == [{"cpuset": "6,7"}]
    assert all_of(domain, "cpu/numa/cell") == [{"id": "0", "cpus": "0,1", "memory": "1048576", "unit": "KiB"}]


def test_the_emulator_stays_on_the_processor_that_is_set_aside_for_it() -> None:
    first = evolve(PINNED, pins=((0, 7),), taken=cpus(6, 7), emulator=cpus(6))
    second = CellClaim(1, 0, 512, pins=((1, 2),), taken=cpus(2))
    assert all_of(made(Place((first, second), HOST)), "cputune/emulatorpin") == [{"cpuset": "6"}]
    isolated = evolve(first, emulator=cpus())
    assert all_of(made(Place((isolated, second), HOST)), "cputune/emulatorpin") == [{"cpuset": "2,7"}]


def test_a_mixed_guest() -> None:
    cell = CellClaim(0, 0, 1024, shared=cpus(0), pins=((1, 3),), taken=cpus(3))
    domain = made(Place((cell,), HOST))
    assert all_of(domain, "cpu/numa/cell")[0]["cpus"] == "0,1"
    assert all_of(domain, "cputune/vcpupin") == [{"vcpu": "0", "cpuset": "0,1"}, {"vcpu": "1", "cpuset": "3"}]
    assert all_of(domain, "cputune/emulatorpin") == [{"cpuset": "0,1,3"}]


def test_huge_pages_of_the_cells_that_have_them() -> None:
    cells = (evolve(FLOATING[0], page_kib=4), evolve(FLOATING[1], page_kib=2048))
    domain = made(Place(cells, HOST))
    assert all_of(domain, "memoryBacking/hugepages/page") == [{"size": "2048", "unit": "KiB", "nodeset": "1"}]
    assert [cell["memAccess"] for cell in all_of(domain, "cpu/numa/cell")] == ["shared", "shared"]
    small = made(Place((evolve(PINNED, page_kib=4),), HOST))
    assert small.find("memoryBacking") is None
    assert "memAccess" not in all_of(small, "cpu/numa/cell")[0]


def test_devices_are_found_again_in_the_domain_that_has_them() -> None:
    domain = made(Place(devices=("0000:81:00.0", "0001:05:1f.7")))
    assert all_of(domain, "devices/hostdev") == [{"mode": "subsystem", "type": "pci", "managed": "yes"}] * 2
    assert all_of(domain, "devices/hostdev/source/address") == [
        {"domain": "0x0000", "bus": "0x81", "slot": "0x00", "function": "0x0"},
        {"domain": "0x0001", "bus": "0x05", "slot": "0x1f", "function": "0x7"},
    ]
    assert addresses_in(ElementTree.tostring(domain, encoding="unicode")) == {"0000:81:00.0", "0001:05:1f.7"}
    interface = (
        "<domain><devices><interface type='hostdev'><source>"
        "<address type='pci' domain='0x0000' bus='0x05' slot='0x10' function='0x2'/></source></interface>"
        "<disk><source file='x'/><address type='pci' domain='0x0000' bus='0x00' slot='0x04' function='0x0'/></disk>"
        "<hostdev mode='subsystem' type='usb'><source><address bus='1' device='4'/></source></hostdev>"
        "</devices></domain>"
    )
    assert addresses_in(interface) == {"0000:05:10.2"}


def test_a_cell_that_the_host_has_no_more() -> None:
    with pytest.raises(HostError, match="this host has no NUMA cell 1 any more"):
        made(Place(FLOATING, HOST[:1]))


def test_only_kvm_pins() -> None:
    check_place(None, "qemu")
    check_place(TopologyClaim(FLOATING), "qemu")
    check_place(TopologyClaim((PINNED,)), "kvm")
    with pytest.raises(HostError, match=r"needs KVM: this host emulates its guests \(domain type qemu\)"):
        check_place(TopologyClaim((PINNED,)), "qemu")
