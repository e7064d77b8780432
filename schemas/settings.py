"""What can be configured, by section of the TOML file. Loading is done by `kilonova.settings`."""

from attrs import field, frozen


@frozen
class TlsFiles:
    """Paths of PEM files; empty means plain TCP."""

    ca: str = ""
    cert: str = ""
    key: str = ""


@frozen
class StoreSettings:
    endpoints: tuple[str, ...] = ("127.0.0.1:2379",)
    prefix: str = ""
    """empty: `kilonova/global/`, or `kilonova/cells/{cell}/` for a cell's store"""
    user: str = ""
    password: str = ""
    timeout: float = 5.0
    """seconds that one call to etcd may take"""
    tls: TlsFiles = TlsFiles()


@frozen
class BusSettings:
    url: str = "nats://127.0.0.1:4222"
    nkey_seed_file: str = ""
    tls: TlsFiles = TlsFiles()


@frozen
class GlobalSettings:
    """What api, scheduler and super conductor need. Agents and cell conductors must not have this section."""

    store: StoreSettings = StoreSettings()
    bus: BusSettings = BusSettings()
    site_key_file: str = "site.key"

    @property
    def prefix(self) -> str:
        return self.store.prefix or "kilonova/global/"


@frozen
class CellSettings:
    """What a cell's conductor needs of its own cell."""

    name: str = "cell1"
    store: StoreSettings = StoreSettings()
    bus: BusSettings = BusSettings()

    @property
    def prefix(self) -> str:
        return self.store.prefix or f"kilonova/cells/{self.name}/"


@frozen
class ApiSettings:
    host: str = "127.0.0.1"
    port: int = 8774
    public_url: str = ""
    """scheme://host:port under which clients and agents reach the API; empty: http://host:port"""
    region: str = "RegionOne"
    spool_dir: str = ""
    """where uploads are collected before they go to the object store; empty: the system's temporary directory"""
    token_hours: float = 24.0
    image_grant_minutes: float = 60.0
    host_call_timeout: float = 10.0
    workers: int = 1

    @property
    def url(self) -> str:
        return self.public_url.rstrip("/") or f"http://{self.host}:{self.port}"


@frozen
class ConductorSettings:
    lease_ttl: int = 5
    """seconds until a dead conductor's shards are taken over"""
    rescan_seconds: float = 2.0
    """how late an operation may start when its hint was lost"""
    host_lease_ttl: int = 15
    """seconds without a heartbeat until a host counts as down"""
    spawn_timeout: float = 600.0
    command_timeout: float = 120.0
    stop_timeout: float = 60.0
    """seconds that a guest gets to shut down by itself"""
    max_attempts: int = 3
    """hosts that are tried for a build"""
    deleted_days: int = 7
    """how long deleted servers are kept for history"""


@frozen
class SchedulerSettings:
    cpu_allocation_ratio: float = 4.0
    ram_allocation_ratio: float = 1.0
    disk_allocation_ratio: float = 1.0
    reserved_host_memory_mb: int = 512
    reserved_host_disk_mb: int = 0
    enabled_filters: tuple[str, ...] = (
        "ComputeFilter",
        "ComputeCapabilitiesFilter",
        "ImagePropertiesFilter",
    )
    max_attempts: int = 3
    host_subset_size: int = 1
    default_availability_zone: str = "nova"


@frozen
class SimulatedSettings:
    hosts: int = 1
    """hosts that one agent process plays, named `{host}-{n}` when more than one"""
    vcpus: int = 64
    memory_mb: int = 262144
    local_gb: int = 4000
    spawn_seconds: float = 0.0
    other_seconds: float = 0.0
    failure_rate: float = 0.0
    seed: int = 0
    state_dir: str = ""
    """where the simulated guests are kept over a restart; empty: nowhere"""


@frozen
class AgentSettings:
    host: str = ""
    """empty: the machine's host name"""
    cell: str = "cell1"
    driver: str = "libvirt"
    state_dir: str = "/var/lib/kilonova"
    heartbeat_seconds: float = 3.0
    inventory_seconds: float = 60.0
    site: str = "kilonova"
    bus: BusSettings = BusSettings()
    simulated: SimulatedSettings = SimulatedSettings()


@frozen
class ProcessSettings:
    log_level: str = "info"
    log_format: str = "json"
    """json or console"""
    observe_host: str = "127.0.0.1"
    observe_port: int = 0
    """/metrics, /healthz and /readyz of a process without an API; 0: none"""
    drain_seconds: float = 10.0


@frozen
class Settings:
    site: str = "kilonova"
    process: ProcessSettings = field(factory=ProcessSettings)
    top: GlobalSettings = field(factory=GlobalSettings)
    cell: CellSettings = field(factory=CellSettings)
    api: ApiSettings = field(factory=ApiSettings)
    conductor: ConductorSettings = field(factory=ConductorSettings)
    scheduler: SchedulerSettings = field(factory=SchedulerSettings)
    agent: AgentSettings = field(factory=AgentSettings)
