"""The facts of this host, gathered from libvirt, the kernel and the file system."""

import os
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import libvirt

from agents.drivers.devices import Device, DeviceSpec, allowed, pools
from agents.drivers.libvirt.capabilities import cpu_info, total_memory_mb, traits
from agents.drivers.libvirt.node_devices import pci_devices
from agents.drivers.libvirt.topology import has_threads, numa_cells
from agents.drivers.libvirt.virtualization import Virtualization
from agents.drivers.processors import Processors, ProcessorSets
from schemas.errors import HostError
from schemas.guest import HostFacts
from schemas.settings import LibvirtSettings

_MEMINFO: Final = Path("/proc/meminfo")
_STAT: Final = Path("/proc/stat")
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def host_facts(
    handle: Any,
    settings: LibvirtSettings,
    virtualization: Virtualization,
    sets: ProcessorSets,
    devices: Sequence[DeviceSpec],
) -> HostFacts:
    """Blocking. Sizes are the machine's, less what the settings reserve. Raises HostError when `sets` ask for
    processors that the machine does not have."""
    capabilities = handle.getCapabilities()
    cpu = cpu_info(capabilities)
    disk = os.statvfs(settings.state_dir)
    offered = offered_processors(handle, sets)
    return HostFacts(
        vcpus=len(offered.shared),
        memory_mb=max(0, total_memory_mb(_MEMINFO.read_text()) - settings.reserved_memory_mb),
        local_gb=max(0, disk.f_blocks * disk.f_frsize // (1 << 30) - settings.reserved_disk_gb),
        hypervisor_type=handle.getType(),
        hypervisor_version=handle.getVersion(),
        hypervisor_hostname=settings.hostname or socket.gethostname(),
        host_ip=host_ip(settings),
        cpu_info=cpu,
        traits=traits(cpu, virtualization.domain_type, has_threads(capabilities)),
        architectures=(str(cpu["arch"]),),
        booted=boot_time(_STAT.read_text()),
        topology=numa_cells(capabilities, offered),
        pci=pools(allowed(host_devices(handle), devices)) if devices else (),
        boot_id=_BOOT_ID.read_text().strip(),
        pcpus=len(offered.dedicated),
        reserved_vcpus=sets.reserved,
        trouble=virtualization.trouble,
        takes_guests=virtualization.takes_guests,
    )


def offered_processors(handle: Any, sets: ProcessorSets) -> Processors:
    """Blocking. Raises HostError when `sets` ask for what is not online."""
    try:
        return sets.of(frozenset(number for number, on in enumerate(handle.getCPUMap()[1]) if on))
    except ValueError as error:
        raise HostError(str(error)) from error


def host_devices(handle: Any) -> list[Device]:
    """Blocking. Describing every device takes a call each: only for those who pass some through."""
    kinds = (
        libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_PCI_DEV
        | libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_NET
        | libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_VDPA
    )
    return pci_devices(device.XMLDesc(0) for device in handle.listAllDevices(kinds))


def boot_time(stat: str) -> datetime | None:
    """From /proc/stat: the same whenever it is asked, unlike what /proc/uptime adds up to."""
    for line in stat.splitlines():
        if line.startswith("btime "):
            return datetime.fromtimestamp(int(line.split()[1]), UTC)
    return None


def host_ip(settings: LibvirtSettings) -> str:
    """As set, else the address that the default route would send from; nothing is sent to find out."""
    if settings.host_ip:
        return settings.host_ip
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address for documentation (RFC 5737)
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
