"""The domain that a guest becomes, and what is read back out of it."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from attrs import evolve

from agents.drivers.libvirt.domain_xml import GuestFiles, domain_xml
from agents.drivers.libvirt.guest_state import changes, seen_guest
from agents.drivers.libvirt.metadata import GuestLabel, label_element, label_xml, read_label
from agents.drivers.libvirt.network import network_xml, read_arp_table
from schemas.errors import HostError
from schemas.guest import Address, GuestMark, GuestSpec, GuestState, NicSpec, PowerState
from schemas.settings import LibvirtSettings

MARK = GuestMark("site-a", "6b0c9c0a-2f0e-4a53-8d7e-0d3f3b6f0a11", "project-1", 4, "op-9")
SPEC = GuestSpec(
    mark=MARK,
    instance_name="instance-6b0c9c0a",
    name='web <1> & "co"',
    hostname="web-1",
    user="u",
    vcpus=2,
    memory_mb=512,
    root_gb=1,
    ephemeral_gb=0,
    swap_mb=0,
    image=None,
    nics=(NicSpec("52:54:00:AA:BB:01"), NicSpec("52:54:00:AA:BB:02", "storage")),
)
G = Path("/guests/6b0c")
FILES = GuestFiles(G / "disk", None, None, G / "disk.config", G / "console.log")
SETTINGS = LibvirtSettings(disk_cache="none")


def made(
    spec: GuestSpec = SPEC, files: GuestFiles = FILES, kind: str = "qemu", **settings: object
) -> ElementTree.Element:
    return ElementTree.fromstring(domain_xml(spec, files, kind, evolve(SETTINGS, **settings)))  # type: ignore[arg-type]


def test_who_it_is() -> None:
    domain = made()
    assert domain.get("type") == "qemu"
    assert domain.findtext("uuid") == MARK.server
    assert domain.findtext("name") == "instance-6b0c9c0a"
    assert domain.findtext("title") == 'web <1> & "co"'
    assert domain.findtext("vcpu") == "2"
    memory = domain.find("memory")
    assert memory is not None
    assert (memory.text, memory.get("unit")) == ("512", "MiB")


def test_a_name_with_control_characters_makes_xml_all_the_same() -> None:
    assert made(evolve(SPEC, name="a\x07b\nc")).findtext("title") == "abc"


def test_the_label_is_read_back_as_it_was_written() -> None:
    label = read_label(made())
    assert label is not None
    assert label.mark == MARK
    assert [(nic.mac, nic.network) for nic in label.nics] == [
        ("52:54:00:aa:bb:01", "private"),
        ("52:54:00:aa:bb:02", "storage"),
    ]


def test_the_label_for_a_running_domain_leaves_the_namespace_to_libvirt() -> None:
    assert "xmlns" not in label_xml(GuestLabel(MARK, SPEC.nics))


@pytest.mark.parametrize("broken", ["site", "server", "project", "generation", "operation"])
def test_a_domain_without_a_whole_mark_is_not_ours(broken: str) -> None:
    domain = ElementTree.Element("domain")
    element = label_element(GuestLabel(MARK))
    ElementTree.SubElement(domain, "metadata").append(element)
    assert read_label(domain) is not None
    del element.attrib[broken]
    assert read_label(domain) is None


def test_disks_in_the_order_that_the_guest_sees() -> None:
    domain = made(files=GuestFiles(G / "disk", G / "eph", G / "swap", G / "disk.config", G / "console.log"))
    seen = [
        (
            disk.get("device"),
            disk.find("target").get("dev"),
            disk.find("target").get("bus"),
            disk.find("driver").get("type"),
        )  # type: ignore[union-attr]
        for disk in domain.findall("devices/disk")
    ]
    assert seen == [
        ("disk", "vda", "virtio", "qcow2"),
        ("disk", "vdb", "virtio", "raw"),
        ("disk", "vdc", "virtio", "raw"),
        ("cdrom", "hda", "ide", "raw"),
    ]


def test_no_config_drive_no_cdrom() -> None:
    assert made(files=evolve(FILES, config_drive=None)).find("devices/disk[@device='cdrom']") is None


@pytest.mark.parametrize(
    ("settings", "kind", "source"),
    [({}, "network", {"network": "kilonova"}), ({"network": "bridge", "bridge": "br7"}, "bridge", {"bridge": "br7"})],
)
def test_interfaces(settings: dict[str, str], kind: str, source: dict[str, str]) -> None:
    interfaces = made(**settings).findall("devices/interface")
    assert [i.find("mac").get("address") for i in interfaces] == ["52:54:00:AA:BB:01", "52:54:00:AA:BB:02"]  # type: ignore[union-attr]
    assert {i.get("type") for i in interfaces} == {kind}
    assert all(i.find("source").attrib == source for i in interfaces)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("kind", "settings", "mode", "model"),
    [
        ("kvm", {}, "host-model", None),
        ("qemu", {}, None, None),
        ("kvm", {"cpu_mode": "host-passthrough"}, "host-passthrough", None),
        ("qemu", {"cpu_mode": "custom", "cpu_model": "Nehalem"}, "custom", "Nehalem"),
    ],
)
def test_cpu(kind: str, settings: dict[str, str], mode: str | None, model: str | None) -> None:
    cpu = made(kind=kind, **settings).find("cpu")
    assert cpu is not None
    assert (cpu.get("mode"), cpu.findtext("model")) == (mode, model)


def test_console_screen_and_small_devices() -> None:
    domain = made(vnc_listen="0.0.0.0")
    assert domain.find("devices/serial[@type='pty']/log").get("file") == "/guests/6b0c/console.log"  # type: ignore[union-attr]
    assert domain.find("devices/graphics[@type='vnc']").get("listen") == "0.0.0.0"  # type: ignore[union-attr]
    assert domain.findtext("devices/rng/backend") == "/dev/urandom"
    assert domain.find("devices/memballoon/stats") is not None


def test_what_is_seen_of_a_running_guest() -> None:
    domain = made(vnc_listen="0.0.0.0")
    domain.find("devices/graphics").set("port", "5901")  # type: ignore[union-attr]
    one = seen_guest(domain, 1, {"52:54:00:aa:bb:01": ["10.0.0.5"]}, "192.0.2.7")
    assert one.state == GuestState(
        MARK.server, PowerState.RUNNING, MARK, (Address("private", "52:54:00:aa:bb:01", "10.0.0.5"),), "192.0.2.7:5901"
    )
    assert one.awaits_address
    both = {"52:54:00:aa:bb:01": ["10.0.0.5"], "52:54:00:aa:bb:02": ["10.0.0.6"]}
    assert not seen_guest(domain, 1, both, "192.0.2.7").awaits_address
    assert not seen_guest(domain, 5, {}, "192.0.2.7").awaits_address


def test_changes_to_report() -> None:
    def guest(server: str, power: int, ip: str | None = None) -> GuestState:
        return GuestState(server, power, MARK, (Address("private", "m", ip),) if ip else ())

    before = {g.server: g for g in (guest("same", 1), guest("stops", 1), guest("lease", 1), guest("gone", 4))}
    now = {g.server: g for g in (guest("same", 1), guest("stops", 4), guest("lease", 1, "10.0.0.9"), guest("new", 1))}
    assert [(s.server, s.power_state) for s in changes(before, now)] == [
        ("stops", 4),
        ("lease", 1),
        ("new", 1),
        ("gone", PowerState.NOSTATE),
    ]
    remarked = {"same": evolve(guest("same", 1), mark=evolve(MARK, generation=5))}
    assert changes({"same": guest("same", 1)}, remarked) == []


def test_the_nat_network_takes_the_first_address_for_the_host() -> None:
    network = ElementTree.fromstring(network_xml(LibvirtSettings(nat_subnet="10.9.8.0/24")))
    assert network.find("ip").attrib == {"address": "10.9.8.1", "netmask": "255.255.255.0"}  # type: ignore[union-attr]
    assert network.find("ip/dhcp/range").attrib == {"start": "10.9.8.2", "end": "10.9.8.254"}  # type: ignore[union-attr]


@pytest.mark.parametrize("subnet", ["10.0.0.0/31", "fd00::/64"])
def test_a_subnet_that_cannot_hold_guests_is_refused(subnet: str) -> None:
    with pytest.raises(HostError):
        network_xml(LibvirtSettings(nat_subnet=subnet))


def test_addresses_behind_a_bridge_come_from_the_arp_table() -> None:
    table = (
        "IP address       HW type     Flags       HW address            Mask     Device\n"
        "10.0.0.5         0x1         0x2         52:54:00:AA:bb:01     *        br0\n"
        "10.0.0.6         0x1         0x0         00:00:00:00:00:00     *        br0\n"
        "10.0.0.7         0x1         0x2         52:54:00:aa:bb:03     *        eth0\n"
    )
    assert read_arp_table(table, "br0") == [("52:54:00:aa:bb:01", "10.0.0.5")]
