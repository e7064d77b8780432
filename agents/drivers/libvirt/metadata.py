"""Our element in a domain's metadata: whose guest it is, which command shaped it last, which network a MAC is on."""

from typing import Final
from xml.etree import ElementTree

from attrs import frozen

from schemas.guest import GuestMark, NicSpec

NAMESPACE: Final = "urn:kilonova:guest:1"
PREFIX: Final = "kilonova"

ElementTree.register_namespace(PREFIX, NAMESPACE)


@frozen
class GuestLabel:
    mark: GuestMark
    nics: tuple[NicSpec, ...] = ()


def label_element(label: GuestLabel, namespace: str = f"{{{NAMESPACE}}}") -> ElementTree.Element:
    mark = label.mark
    guest = ElementTree.Element(
        f"{namespace}guest",
        site=mark.site,
        server=mark.server,
        project=mark.project,
        generation=str(mark.generation),
        operation=mark.operation,
    )
    for nic in label.nics:
        ElementTree.SubElement(guest, f"{namespace}nic", mac=nic.mac.lower(), network=nic.network)
    return guest


def label_xml(label: GuestLabel) -> str:
    """For virDomainSetMetadata, which puts the namespace into all elements itself and fails when it is there."""
    return ElementTree.tostring(label_element(label, namespace=""), encoding="unicode")


def read_label(domain: ElementTree.Element) -> GuestLabel | None:
    """The label of a `<domain>`; None when it bears none that we can read, which makes the domain not ours."""
    guest = domain.find(f"metadata/{{{NAMESPACE}}}guest")
    if guest is None:
        return None
    try:
        mark = GuestMark(
            site=guest.attrib["site"],
            server=guest.attrib["server"],
            project=guest.attrib["project"],
            generation=int(guest.attrib["generation"]),
            operation=guest.attrib["operation"],
        )
        nics = tuple(NicSpec(nic.attrib["mac"], nic.attrib["network"]) for nic in guest.findall(f"{{{NAMESPACE}}}nic"))
    except (KeyError, ValueError):
        return None
    return GuestLabel(mark, nics)
