"""Where on its host a guest's processors and memory lie, and which devices it has, as XML of its domain. Pure.

The elements are those of Nova's libvirt driver.
"""

import re
from collections.abc import Iterable
from typing import Literal
from xml.etree.ElementTree import Element, SubElement

from attrs import frozen

from schemas.errors import HostError
from schemas.topology import CellClaim, NumaCell, TopologyClaim


@frozen
class Place:
    """`host` are the host's cells, `floating` the processors that guests without cells of their own float over (empty:
    all), `devices` the addresses of those passed through."""

    cells: tuple[CellClaim, ...] = ()
    host: tuple[NumaCell, ...] = ()
    floating: frozenset[int] = frozenset()
    devices: tuple[str, ...] = ()


NOWHERE = Place()
"""in particular"""


def check_place(claim: TopologyClaim | None, domain_type: Literal["kvm", "qemu"]) -> None:
    """Raises HostError when libvirt would refuse it: an emulated guest's processors are no threads to pin."""
    if claim and domain_type == "qemu" and any(cell.pins for cell in claim.cells):
        raise HostError(
            "a guest with dedicated processors needs KVM: this host emulates its guests (domain type qemu), and "
            "libvirt pins no emulated processors"
        )


def set_place(domain: Element, place: Place, domain_type: Literal["kvm", "qemu"]) -> None:
    """Into a domain that has its `vcpu`, `cpu` and `devices`. Raises HostError for a cell that the host lacks."""
    if place.cells:
        on = _host_cells(place)
        _numa(domain, place.cells, on)
        _memory(domain, place.cells, on)
        _processors(domain, place.cells, on, domain_type)
    elif place.floating:
        _child(domain, "vcpu").set("cpuset", _listed(place.floating))
    for address in place.devices:
        _device(_child(domain, "devices"), address)


def _host_cells(place: Place) -> list[NumaCell]:
    """For each of the guest's cells the host's."""
    known = {cell.id: cell for cell in place.host}
    gone = sorted({claim.host_cell for claim in place.cells} - known.keys())
    if gone:
        raise HostError(
            f"this host has no NUMA cell {gone[0]} any more: the guest was given processors or memory of it"
        )
    return [known[claim.host_cell] for claim in place.cells]


def _numa(domain: Element, cells: Iterable[CellClaim], on: list[NumaCell]) -> None:
    """What the guest sees. Memory in huge pages is shared as in Nova, so that vhost-user interfaces could read it."""
    shared = {"memAccess": "shared"} if any(map(_is_huge, cells, on)) else {}
    numa = SubElement(_child(domain, "cpu"), "numa")
    for claim in cells:
        cpus = _listed(claim.shared.union(cpu for cpu, _ in claim.pins))
        memory = str(claim.memory_mb * 1024)
        SubElement(numa, "cell", {"id": str(claim.cell), "cpus": cpus, "memory": memory, "unit": "KiB"} | shared)


def _memory(domain: Element, cells: Iterable[CellClaim], on: list[NumaCell]) -> None:
    tune = SubElement(domain, "numatune")
    SubElement(tune, "memory", mode="strict", nodeset=_listed(cell.id for cell in on))
    for claim in cells:
        SubElement(tune, "memnode", cellid=str(claim.cell), mode="strict", nodeset=str(claim.host_cell))
    huge = [claim for claim, cell in zip(cells, on, strict=True) if _is_huge(claim, cell)]
    if huge:
        pages = SubElement(SubElement(domain, "memoryBacking"), "hugepages")
        for claim in huge:
            SubElement(pages, "page", size=str(claim.page_kib), unit="KiB", nodeset=str(claim.cell))


def _processors(
    domain: Element, cells: Iterable[CellClaim], on: list[NumaCell], domain_type: Literal["kvm", "qemu"]
) -> None:
    """Each of the guest's, and the emulator: on processors of its own where some are set aside, else on all these."""
    pins = {cpu: frozenset({host}) for claim in cells for cpu, host in claim.pins}
    pins |= {cpu: cell.cpus for claim, cell in zip(cells, on, strict=True) for cpu in claim.shared}
    everything = frozenset().union(*pins.values())
    if domain_type == "qemu":  # has no thread for each processor: all of it floats where they may
        _child(domain, "vcpu").set("cpuset", _listed(everything))
        return
    tune = SubElement(domain, "cputune")
    for cpu, to in sorted(pins.items()):
        SubElement(tune, "vcpupin", vcpu=str(cpu), cpuset=_listed(to))
    aside = frozenset().union(*(claim.emulator for claim in cells))
    SubElement(tune, "emulatorpin", cpuset=_listed(aside or everything))


def _device(devices: Element, address: str) -> None:
    """libvirt takes it from its driver for as long as the guest runs."""
    hostdev = SubElement(devices, "hostdev", mode="subsystem", type="pci", managed="yes")
    parts = zip(("domain", "bus", "slot", "function"), re.split("[:.]", address), strict=True)
    SubElement(SubElement(hostdev, "source"), "address", {name: f"0x{part}" for name, part in parts})


def _is_huge(claim: CellClaim, cell: NumaCell) -> bool:
    """Ordinary pages need no word."""
    return claim.page_kib is not None and claim.page_kib > min((p.size_kib for p in cell.pages), default=0)


def _child(domain: Element, tag: str) -> Element:
    found = domain.find(tag)
    assert found is not None
    return found


def _listed(numbers: Iterable[int]) -> str:
    return ",".join(map(str, sorted(set(numbers))))
