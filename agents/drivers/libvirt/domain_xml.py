"""The libvirt domain of a guest, as XML. Pure: paths, settings and the kind of virtualization come in."""

from pathlib import Path
from typing import Literal
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from attrs import frozen

from agents.drivers.libvirt.domain_topology import NOWHERE, Place, set_place
from agents.drivers.libvirt.metadata import GuestLabel, label_element
from schemas.guest import GuestSpec, NicSpec
from schemas.settings import LibvirtSettings


@frozen
class GuestFiles:
    """What the guest's directory holds, in the order in which the guest sees its disks."""

    root: Path
    ephemeral: Path | None
    swap: Path | None
    config_drive: Path | None
    console: Path


def domain_xml(
    spec: GuestSpec,
    files: GuestFiles,
    domain_type: Literal["kvm", "qemu"],
    settings: LibvirtSettings,
    place: Place = NOWHERE,
) -> str:
    """`settings` as the host resolved them: `disk_cache` is no longer auto."""
    domain = Element("domain", type=domain_type)
    _text(domain, "name", spec.instance_name)
    _text(domain, "uuid", spec.mark.server)
    _text(domain, "title", "".join(filter(str.isprintable, spec.name)))
    SubElement(domain, "metadata").append(label_element(GuestLabel(spec.mark, spec.nics)))
    _text(domain, "memory", str(spec.memory_mb), unit="MiB")
    _text(domain, "vcpu", str(spec.vcpus))
    _sysinfo(domain, spec)
    _os(domain)
    _cpu(domain, spec, domain_type, settings)
    _clock(domain, domain_type)
    # A guest that powers itself off, or crashes, stays defined and stopped: what happens next is the site's decision.
    _text(domain, "on_poweroff", "destroy")
    _text(domain, "on_reboot", "restart")
    _text(domain, "on_crash", "destroy")
    devices = SubElement(domain, "devices")
    _disks(devices, files, settings)
    for nic in spec.nics:
        _interface(devices, nic, settings)
    _console(devices, files.console)
    _screen(devices, settings)
    rng = SubElement(devices, "rng", model="virtio")
    _text(rng, "backend", "/dev/urandom", model="random")
    balloon = SubElement(devices, "memballoon", model="virtio")
    SubElement(balloon, "stats", period="10")
    set_place(domain, place, domain_type)
    ElementTree.indent(domain)
    return ElementTree.tostring(domain, encoding="unicode")


def _text(parent: Element, tag: str, text: str, **attributes: str) -> Element:
    element = SubElement(parent, tag, attributes)
    element.text = text
    return element


def _sysinfo(domain: Element, spec: GuestSpec) -> None:
    """cloud-init knows an OpenStack guest by the name of this product."""
    system = SubElement(SubElement(domain, "sysinfo", type="smbios"), "system")
    for name, value in (
        ("manufacturer", "Kilonova"),
        ("product", "OpenStack Compute"),
        ("serial", spec.mark.server),
        ("uuid", spec.mark.server),
        ("family", "Virtual Machine"),
    ):
        _text(system, "entry", value, name=name)


def _os(domain: Element) -> None:
    """The pc machine: its IDE bus carries the config drive, which kernels without AHCI could not see on q35."""
    os = SubElement(domain, "os")
    _text(os, "type", "hvm", arch="x86_64", machine="pc")
    SubElement(os, "boot", dev="hd")
    SubElement(os, "smbios", mode="sysinfo")
    features = SubElement(domain, "features")
    SubElement(features, "acpi")
    SubElement(features, "apic")


def _cpu(domain: Element, spec: GuestSpec, domain_type: Literal["kvm", "qemu"], settings: LibvirtSettings) -> None:
    mode = settings.cpu_mode
    if mode == "auto":
        mode = "host-model" if domain_type == "kvm" else "none"
    cpu = SubElement(domain, "cpu")
    if mode == "custom":
        cpu.set("mode", "custom")
        cpu.set("match", "exact")
        _text(cpu, "model", settings.cpu_model)
    elif mode != "none":
        cpu.set("mode", mode)
    SubElement(cpu, "topology", sockets=str(spec.vcpus), cores="1", threads="1")


def _clock(domain: Element, domain_type: Literal["kvm", "qemu"]) -> None:
    clock = SubElement(domain, "clock", offset="utc")
    if domain_type == "kvm":
        SubElement(clock, "timer", name="pit", tickpolicy="delay")
        SubElement(clock, "timer", name="rtc", tickpolicy="catchup")
        SubElement(clock, "timer", name="hpet", present="no")


def _disks(devices: Element, files: GuestFiles, settings: LibvirtSettings) -> None:
    letters = iter("abc")
    for path, image_format in ((files.root, "qcow2"), (files.ephemeral, "raw"), (files.swap, "raw")):
        if path is None:
            continue
        disk = SubElement(devices, "disk", type="file", device="disk")
        SubElement(disk, "driver", name="qemu", type=image_format, cache=settings.disk_cache, discard="unmap")
        SubElement(disk, "source", file=str(path))
        SubElement(disk, "target", dev=f"vd{next(letters)}", bus="virtio")
    if files.config_drive is not None:
        cdrom = SubElement(devices, "disk", type="file", device="cdrom")
        SubElement(cdrom, "driver", name="qemu", type="raw")
        SubElement(cdrom, "source", file=str(files.config_drive))
        SubElement(cdrom, "target", dev="hda", bus="ide")
        SubElement(cdrom, "readonly")


def _interface(devices: Element, nic: NicSpec, settings: LibvirtSettings) -> None:
    if settings.network == "nat":
        interface = SubElement(devices, "interface", type="network")
        SubElement(interface, "source", network=settings.nat_network)
    else:
        interface = SubElement(devices, "interface", type="bridge")
        SubElement(interface, "source", bridge=settings.bridge)
    SubElement(interface, "mac", address=nic.mac)
    SubElement(interface, "model", type="virtio")
    SubElement(interface, "rom", enabled="no")  # nothing boots from the network, and trying takes seconds


def _console(devices: Element, log: Path) -> None:
    serial = SubElement(devices, "serial", type="pty")
    SubElement(serial, "log", file=str(log), append="on")
    SubElement(serial, "target", port="0")
    console = SubElement(devices, "console", type="pty")
    SubElement(console, "target", type="serial", port="0")


def _screen(devices: Element, settings: LibvirtSettings) -> None:
    SubElement(devices, "graphics", type="vnc", port="-1", autoport="yes", listen=settings.vnc_listen)
    video = SubElement(devices, "video")
    SubElement(video, "model", type="vga")
