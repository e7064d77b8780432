"""The network that guests are on, and the addresses that they got there."""

from collections import defaultdict
from ipaddress import IPv4Network, ip_network
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import libvirt

from agents.drivers.libvirt.guest_state import Leases
from schemas.errors import HostError
from schemas.settings import LibvirtSettings

_ARP_TABLE: Final = Path("/proc/net/arp")


def network_xml(settings: LibvirtSettings) -> str:
    """The NAT network: the first address is the host's, DHCP gives the rest."""
    subnet = ip_network(settings.nat_subnet)
    if not isinstance(subnet, IPv4Network) or subnet.num_addresses < 8:
        raise HostError(f"nat_subnet {settings.nat_subnet} must be an IPv4 network of a /29 or more")
    network = Element("network")
    SubElement(network, "name").text = settings.nat_network
    SubElement(network, "forward", mode="nat")
    SubElement(network, "bridge", name=settings.nat_bridge, stp="off", delay="0")
    ip = SubElement(network, "ip", address=str(subnet[1]), netmask=str(subnet.netmask))
    SubElement(SubElement(ip, "dhcp"), "range", start=str(subnet[2]), end=str(subnet[-2]))
    return ElementTree.tostring(network, encoding="unicode")


def ensure_network(handle: Any, settings: LibvirtSettings) -> None:
    """Have the network defined and running. Blocking; harmless to repeat and to race with another. Raises HostError."""
    if settings.network == "bridge":
        if not Path("/sys/class/net", settings.bridge, "bridge").exists():
            raise HostError(f"this host has no bridge {settings.bridge}: create it or set another")
        return
    try:
        network = handle.networkLookupByName(settings.nat_network)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_NETWORK:
            raise
        network = handle.networkDefineXML(network_xml(settings))
    found = ElementTree.fromstring(network.XMLDesc(0)).find("ip")
    expected = str(ip_network(settings.nat_subnet)[1])
    if found is None or found.get("address") != expected:
        raise HostError(
            f"libvirt's network {settings.nat_network} is not {settings.nat_subnet}: "
            f"virsh net-destroy and net-undefine it, or set another nat_subnet"
        )
    if not network.isActive():
        try:
            network.create()
        except libvirt.libvirtError:
            if not network.isActive():
                raise
    network.setAutostart(True)


def leases(handle: Any, settings: LibvirtSettings) -> Leases:
    """The addresses of all guests in one call. Blocking. On a bridge that is what the host has talked to lately."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    if settings.network == "bridge":
        for mac, ip in read_arp_table(_ARP_TABLE.read_text(), settings.bridge):
            found[mac].append(ip)
        return found
    try:
        network = handle.networkLookupByName(settings.nat_network)
        for lease in network.DHCPLeases() if network.isActive() else ():
            if lease["type"] == libvirt.VIR_IP_ADDR_TYPE_IPV4:
                found[lease["mac"].lower()].append(lease["ipaddr"])
    except libvirt.libvirtError as error:
        if error.get_error_code() not in (libvirt.VIR_ERR_NO_NETWORK, libvirt.VIR_ERR_OPERATION_INVALID):
            raise
    return found


def read_arp_table(text: str, device: str) -> list[tuple[str, str]]:
    """(MAC, IP) of the complete entries of /proc/net/arp on one device."""
    rows = [line.split() for line in text.splitlines()[1:]]
    return [(row[3].lower(), row[0]) for row in rows if len(row) == 6 and row[5] == device and row[2] != "0x0"]
