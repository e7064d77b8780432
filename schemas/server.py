"""A server: what a cell knows of it, what the top knows of it, and its draft while it has no cell."""

from datetime import UTC, datetime
from typing import Any

from attrs import field, frozen

from schemas.codec import record
from schemas.guest import Address, KeyPairData
from schemas.topology import TopologyClaim

CELL0 = "cell0"
"""The name of the store for servers that never found a host."""


@frozen
class FlavorCopy:
    """A flavor as it was when the server took it."""

    id: str
    name: str
    vcpus: int
    memory_mb: int
    root_gb: int
    ephemeral_gb: int = 0
    swap_mb: int = 0
    extra_specs: dict[str, str] = field(factory=dict)


@frozen
class ImageRef:
    """The image that a server boots from, with what its agent needs to fetch it."""

    id: str
    name: str = ""
    digest: str = ""
    size: int = 0
    disk_format: str = "qcow2"
    properties: dict[str, str] = field(factory=dict)
    container_format: str = "bare"
    min_disk_gb: int = 0
    min_ram_mb: int = 0


@frozen
class Fault:
    code: int
    message: str
    created: datetime
    details: str = ""


@record(1)
@frozen
class Instance:
    """A server in its cell. `generation` rises with every command for life; `task_state` is None at rest."""

    uuid: str
    project: str
    user: str
    name: str
    hostname: str
    created: datetime
    updated: datetime
    flavor: FlavorCopy
    image: ImageRef | None
    vm_state: str
    task_state: str | None = None
    power_state: int = 0
    generation: int = 1
    attempt: int = 1
    host: str | None = None
    node: str | None = None
    instance_name: str = ""
    launched: datetime | None = None
    terminated: datetime | None = None
    metadata: dict[str, str] = field(factory=dict)
    tags: tuple[str, ...] = ()
    description: str | None = None
    key: KeyPairData | None = None
    config_drive: bool = False
    has_user_data: bool = False
    availability_zone: str | None = None
    pinned_zone: str | None = None
    locked_by: str | None = None
    locked_reason: str | None = None
    access_ip_v4: str | None = None
    access_ip_v6: str | None = None
    disk_config: str = "MANUAL"
    reservation: str = ""
    launch_index: int = 0
    networks: str = "auto"
    """auto or none"""
    macs: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()
    admin_password: str | None = field(default=None, repr=False)
    """encrypted: under the site key in a request, under the cell's key in a cell; None when no config drive tells it"""
    trusted_certs: tuple[str, ...] = ()
    scheduler_hints: dict[str, Any] = field(factory=dict)
    fault: Fault | None = None
    progress: int = 0
    topology: TopologyClaim | None = None
    """where on its host it lies, if that matters to it"""

    @property
    def locked(self) -> bool:
        return self.locked_by is not None

    @property
    def created_us(self) -> int:
        return to_us(self.created)


@record(1)
@frozen
class UserData:
    """Kept beside its server, since it is large and rarely read. `data` is base64."""

    data: str = field(repr=False)


@record(1)
@frozen
class RequestSpec:
    """What was asked of the scheduler, kept for later moves of the server."""

    uuid: str
    project: str
    user: str
    flavor: FlavorCopy
    image: ImageRef | None
    availability_zone: str | None = None
    forced_host: str | None = None
    requested_host: str | None = None
    scheduler_hints: dict[str, Any] = field(factory=dict)
    group: str | None = None
    """uuid of its server group"""


@frozen
class Charge:
    """What a server counts against its project's quota."""

    instances: int = 1
    cores: int = 0
    ram: int = 0


@record(1)
@frozen
class InstanceMapping:
    """Where a server lives: a cell's name, or None while its BuildRequest exists."""

    uuid: str
    project: str
    user: str
    created: datetime
    cell: str | None = None
    attempt: int = 1
    generation: int = 1
    charge: Charge = Charge()
    group: str | None = None
    """the server group that it is a member of until it is forgotten"""


@record(1)
@frozen
class BuildRequest:
    """The draft of a server that is not in a cell yet."""

    instance: Instance
    user_data: str | None = field(default=None, repr=False)


@record(1)
@frozen
class ServerIndex:
    """A line of the time-ordered lists. The mapping wins where they differ."""

    project: str
    cell: str | None = None


@record(1)
@frozen
class HostedServer:
    """A line of a host's index: with the uuid, the key of the Instance."""

    project: str
    created_us: int


def to_us(moment: datetime) -> int:
    """Microseconds since the epoch; exact, unlike a float's."""
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


def from_us(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC).replace(microsecond=microseconds % 1_000_000)


def time_key(created_us: int, uuid: str) -> str:
    """Sorts by time, then uuid: sixteen digits last until the year 2286."""
    return f"{created_us:016d}-{uuid}"
