"""What a driver is asked to run and what it says of it: guests, their disks, nets and the host's facts."""

from datetime import datetime
from typing import Any, Literal

from attrs import field, frozen

from schemas.topology import NumaCell, PciPool, TopologyClaim


class PowerState:
    """Nova's numbers."""

    NOSTATE = 0
    RUNNING = 1
    PAUSED = 3
    SHUTDOWN = 4
    CRASHED = 6
    SUSPENDED = 7


@frozen
class GuestMark:
    """Kept in the domain's metadata: whose guest it is and which command shaped it last."""

    site: str
    server: str
    project: str
    generation: int
    operation: str


@frozen
class ImageGrant:
    """An image and the leave to fetch it: `url` is signed and short-lived; `digest` is `sha256:<hex>` of the bytes."""

    id: str
    digest: str
    size: int
    """bytes of the file"""
    disk_format: Literal["qcow2", "raw"]
    url: str = field(repr=False)


@frozen
class KeyPairData:
    name: str
    public_key: str
    type: str = "ssh"


@frozen
class NicSpec:
    """One interface on the host's own network `network` (NAT or bridge as the agent's configuration says)."""

    mac: str
    network: str = "private"


@frozen
class GuestSpec:
    mark: GuestMark
    instance_name: str
    """libvirt's domain name, `instance-<8 hex digits>`"""
    name: str
    hostname: str
    user: str
    vcpus: int
    memory_mb: int
    root_gb: int
    ephemeral_gb: int
    swap_mb: int
    image: ImageGrant | None
    nics: tuple[NicSpec, ...] = ()
    config_drive: bool = True
    metadata: dict[str, str] = field(factory=dict)
    user_data: str | None = field(default=None, repr=False)
    """base64, as the API took it"""
    key: KeyPairData | None = None
    admin_password: str | None = field(default=None, repr=False)
    availability_zone: str = "nova"
    launch_index: int = 0
    topology: TopologyClaim | None = None
    """None: its processors and memory float over the host"""


@frozen
class Address:
    network: str
    mac: str
    ip: str
    version: Literal[4, 6] = 4


@frozen
class GuestState:
    """What the hypervisor says of a guest right now. `mark` is None for a domain that is not of our making."""

    server: str
    power_state: int
    mark: GuestMark | None = None
    addresses: tuple[Address, ...] = ()
    vnc: str | None = None
    """`host:port` of its VNC server while it runs"""
    halted: str = ""
    """why the hypervisor stopped it without being asked, in the hypervisor's own words; empty: it did not"""


@frozen
class CpuDiagnostics:
    id: int
    time: int
    """nanoseconds"""


@frozen
class NicDiagnostics:
    """`device` is the interface's name on the host. Counts since the guest's start."""

    device: str
    mac_address: str
    rx_octets: int
    rx_packets: int
    rx_errors: int
    rx_drop: int
    tx_octets: int
    tx_packets: int
    tx_errors: int
    tx_drop: int


@frozen
class DiskDiagnostics:
    """`device` is the disk's name in the domain. Counts since the guest's start; `errors_count` is -1 where the
    hypervisor does not count them."""

    device: str
    read_bytes: int
    read_requests: int
    write_bytes: int
    write_requests: int
    errors_count: int


@frozen
class Diagnostics:
    """What the host knows of a running guest; a server's uptime and config drive are in its record."""

    state: Literal["pending", "running", "paused", "shutdown", "crashed", "suspended"]
    """Nova's words for power states"""
    driver: str
    hypervisor: str
    """kvm or qemu"""
    memory_maximum: int
    """MiB"""
    memory_used: int
    """MiB"""
    cpus: tuple[CpuDiagnostics, ...] = ()
    nics: tuple[NicDiagnostics, ...] = ()
    disks: tuple[DiskDiagnostics, ...] = ()
    memory_stats: dict[str, int] = field(factory=dict)
    """libvirt's names -> KiB, as far as the guest's balloon tells"""
    hypervisor_os: str = "linux"


@frozen
class HostFacts:
    """A host as placement and os-hypervisors want it. Sizes: MiB and GiB as in the names. `vcpus` are the processors
    that float over shared guests, `pcpus` those that are pinned."""

    vcpus: int
    memory_mb: int
    local_gb: int
    hypervisor_type: str
    hypervisor_version: int
    hypervisor_hostname: str
    host_ip: str
    cpu_info: dict[str, Any] = field(factory=dict)
    """arch, model, vendor, features, topology: as Nova's libvirt driver reports them"""
    traits: frozenset[str] = frozenset()
    architectures: tuple[str, ...] = ("x86_64",)
    booted: datetime | None = None
    """when the machine was started"""
    io_ops: int = 0
    """jobs on guests under way, as the host last said"""
    metrics: dict[str, float] = field(factory=dict)
    """what Nova's monitors report, such as `cpu.percent`"""
    topology: tuple[NumaCell, ...] = ()
    """empty: the driver does not tell of NUMA cells"""
    pci: tuple[PciPool, ...] = ()
    boot_id: str = ""
    """another after each boot of the machine"""
    pcpus: int = 0
    reserved_vcpus: int = 0
    """of the shared ones, kept for the host itself"""
    trouble: str = ""
    """what is wrong with the hypervisor though it answers, in its own words; empty: nothing is known to be"""
    takes_guests: bool = True
    """False: because of its trouble the host refuses new guests"""
