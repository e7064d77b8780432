"""PCI devices out of libvirt's descriptions of a host's devices. Pure."""

from collections.abc import Iterable, Mapping
from typing import Final
from xml.etree import ElementTree

from agents.drivers.devices import Device
from schemas.topology import DeviceType

_PLACE: Final = ("domain", "bus", "slot", "function")


def pci_devices(descriptions: Iterable[str]) -> list[Device]:
    """Of descriptions of all PCI, network and vDPA devices: the latter two are told by their parents."""
    nodes = [ElementTree.fromstring(text) for text in descriptions]
    interfaces = {
        node.findtext("parent", ""): node.findtext("capability[@type='net']/interface", "")
        for node in nodes
        if node.find("capability[@type='net']") is not None
    }
    vdpa = {node.findtext("parent", "") for node in nodes if node.find("capability[@type='vdpa']") is not None}
    found = []
    for node in nodes:
        pci = node.find("capability[@type='pci']")
        if pci is not None:
            name = node.findtext("name", "")
            found.append(_device(pci, interfaces.get(name, ""), name in vdpa))
    return found


def addresses_in(domain: str) -> set[str]:
    """Those of all PCI devices that a domain, by its XML, has for itself."""
    sources = ElementTree.fromstring(domain).iterfind("devices/*/source/address")
    return {_address(**_place(source.attrib)) for source in sources if source.attrib.keys() >= set(_PLACE)}


def _device(pci: ElementTree.Element, interface: str, vdpa: bool) -> Device:
    place = _place({part: pci.findtext(part, "0") for part in _PLACE})
    kind: DeviceType = "type-PCI"
    of = pci.find("capability[@type='phys_function']/address")
    if pci.find("capability[@type='virt_functions']") is not None:
        kind = "type-PF"
    elif of is not None:
        kind = "vdpa" if vdpa else "type-VF"
    numa = pci.find("numa")
    return Device(
        _address(**place),
        _id(pci.find("vendor")),
        _id(pci.find("product")),
        kind,
        int(numa.get("node", "0")) if numa is not None else None,
        _address(**_place(of.attrib)) if of is not None else None,
        interface,
    )


def _place(said: Mapping[str, str]) -> dict[str, int]:
    return {part: int(said.get(part, "0"), 0) for part in _PLACE}


def _address(domain: int, bus: int, slot: int, function: int) -> str:
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"


def _id(element: ElementTree.Element | None) -> str:
    return f"{int(element.get('id', '0'), 0) if element is not None else 0:04x}"
