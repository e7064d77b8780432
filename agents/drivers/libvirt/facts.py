"""The facts of this host, gathered from libvirt, the kernel and the file system."""

import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from agents.drivers.libvirt.capabilities import cpu_info, total_memory_mb, traits
from schemas.guest import HostFacts
from schemas.settings import LibvirtSettings

_MEMINFO: Final = Path("/proc/meminfo")
_STAT: Final = Path("/proc/stat")
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def host_facts(handle: Any, settings: LibvirtSettings, domain_type: Literal["kvm", "qemu"]) -> HostFacts:
    """Blocking. Sizes are the machine's, less what the settings reserve."""
    cpu = cpu_info(handle.getCapabilities())
    disk = os.statvfs(settings.state_dir)
    return HostFacts(
        vcpus=handle.getInfo()[2],
        memory_mb=max(0, total_memory_mb(_MEMINFO.read_text()) - settings.reserved_memory_mb),
        local_gb=max(0, disk.f_blocks * disk.f_frsize // (1 << 30) - settings.reserved_disk_gb),
        hypervisor_type=handle.getType(),
        hypervisor_version=handle.getVersion(),
        hypervisor_hostname=settings.hostname or socket.gethostname(),
        host_ip=host_ip(settings),
        cpu_info=cpu,
        traits=traits(cpu, domain_type),
        architectures=(str(cpu["arch"]),),
        booted=boot_time(_STAT.read_text()),
        boot_id=_BOOT_ID.read_text().strip(),
    )


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
