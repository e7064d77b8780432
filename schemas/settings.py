"""What can be configured, by section of the TOML file. Loading is done by `kilonova.settings`."""

from pathlib import Path
from typing import Literal

from attrs import field, frozen


@frozen
class TlsFiles:
    """Paths of PEM files; all empty means plain TCP."""

    ca: str = ""
    """who signed the server's certificate; with it TLS is spoken, and nothing else"""
    cert: str = ""
    """ours, for a server that wants one; with its key"""
    key: str = ""

    @property
    def fault(self) -> str:
        """What is missing, if anything is."""
        if bool(self.cert) != bool(self.key):
            return "tls.cert and tls.key belong together: give both or none"
        if self.cert and not self.ca:
            return "tls.cert without tls.ca: name the file of the authority that signed the server's"
        return ""


@frozen
class StoreSettings:
    endpoints: tuple[str, ...] = ("127.0.0.1:2379",)
    prefix: str = ""
    """empty: `kilonova/global/`, or `kilonova/cells/{cell}/` for a cell's store"""
    user: str = ""
    password: str = field(default="", repr=False)
    timeout: float = 5.0
    """seconds that one call to etcd may take"""
    tls: TlsFiles = TlsFiles()


@frozen
class BusSettings:
    url: str = "nats://127.0.0.1:4222"
    """several servers of one cluster with commas between them"""
    nkey_seed_file: str = ""
    """`kilonova nats-key` makes one; empty: no credentials"""
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
    key_file: str = ""
    """the cell's key, which `kilonova bootstrap` writes; without it no guest is told its administrator's password"""

    @property
    def prefix(self) -> str:
        return self.store.prefix or f"kilonova/cells/{self.name}/"


@frozen
class HttpSettings:
    """How a listener of ours for HTTP treats its clients."""

    tls_cert: str = ""
    """PEM file of the listener's certificate and those of its authorities; with `tls_key` HTTPS is spoken"""
    tls_key: str = ""
    allow_plaintext: bool = False
    """listen beyond loopback without TLS: behind a proxy that ends TLS, or on a network of its own"""
    header_seconds: float = 20.0
    """until a request's line and headers are complete, counted from its first byte or from the connection"""
    body_seconds: float = 30.0
    """within which at least `body_bytes` of an unfinished body arrive"""
    body_bytes: int = 16384
    send_seconds: float = 60.0
    """that a client may leave an answer unread"""
    connections: int = 8192
    """in all; more are answered with 503"""
    connections_per_source: int = 1024
    """of one address; more are answered with 503"""

    @property
    def fault(self) -> str:
        """What is missing, if anything is."""
        if bool(self.tls_cert) != bool(self.tls_key):
            return "http.tls_cert and http.tls_key belong together: give both or none"
        return ""


@frozen
class CorsSettings:
    """Which pages of other origins may ask; oslo.middleware's names, Placement's defaults."""

    allowed_origin: tuple[str, ...] = ()
    """empty: none; `*`: all"""
    allow_credentials: bool = True
    expose_headers: tuple[str, ...] = (
        "X-Auth-Token",
        "X-Openstack-Request-Id",
        "X-Subject-Token",
        "X-Service-Token",
        "openstack-api-version",
    )
    max_age: int = 3600
    """seconds that a browser may remember the permission"""
    allow_methods: tuple[str, ...] = ("OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "PATCH")
    allow_headers: tuple[str, ...] = ("X-Auth-Token", "X-Openstack-Request-Id", "OpenStack-API-Version")


@frozen
class ApiCorsSettings(CorsSettings):
    """The same for identity, images and compute, with the headers of Keystone, Glance and Nova."""

    expose_headers: tuple[str, ...] = (
        "X-Auth-Token",
        "X-Openstack-Request-Id",
        "X-Subject-Token",
        "X-Service-Token",
        "X-Image-Meta-Checksum",
        "X-OpenStack-Nova-API-Version",
        "OpenStack-API-Version",
    )
    allow_headers: tuple[str, ...] = (
        "X-Auth-Token",
        "X-Openstack-Request-Id",
        "X-Subject-Token",
        "X-Service-Token",
        "X-OpenStack-Nova-API-Version",
        "OpenStack-API-Version",
        "Content-MD5",
        "X-Image-Meta-Checksum",
        "X-Storage-Token",
    )


@frozen
class LoginSettings:
    """Of the built-in identity; the first two as in Keystone's `[security_compliance]`."""

    lockout_failure_attempts: int = 0
    """wrong passwords in a row that close an account; 0: none do"""
    lockout_duration: float = 1800.0
    """seconds that it is closed; 0: until an administrator enables the user again"""
    hashing_share: float = 0.5
    """of the processors that the hashing of passwords may use, at least one of them"""


@frozen
class ApiSettings:
    host: str = "127.0.0.1"
    port: int = 8774
    http: HttpSettings = HttpSettings()
    login: LoginSettings = LoginSettings()
    cors: ApiCorsSettings = ApiCorsSettings()
    trusted_proxies: tuple[str, ...] = ()
    """addresses or networks of proxies whose X-Forwarded-For says where a log-in comes from; empty: none is believed"""
    public_url: str = ""
    """scheme://host:port under which clients and agents reach the API; empty: this host and port, https with TLS"""
    region: str = "RegionOne"
    spool_dir: str = ""
    """where uploads are collected before they go to the object store; empty: the system's temporary directory"""
    image_max_gb: float = 100.0
    """GiB that an uploaded image may have"""
    image_store_gb: float = 0.0
    """GiB that all images' bytes may take together; 0: as much as NATS has"""
    images_per_project: int = 1000
    """that one project may have; 0: any number"""
    image_project_gb: float = 1000.0
    """GiB that the active images of one project may take; 0: any number"""
    uploads: int = 32
    """images whose bytes one process takes in at the same time"""
    uploads_per_project: int = 4
    """of those, that one project has"""
    upload_hours: float = 6.0
    """within which the bytes of an upload must have come"""
    app_credentials_per_user: int = 100
    """0: any number"""
    writes_per_second: float = 10.0
    """changes of images and application credentials that one project makes in a process; administrators are free"""
    writes_burst: float = 200.0
    """of those, that it makes at once"""
    store_quota_gb: float = 8.0
    """GiB: the --quota-backend-bytes that the global etcd runs with; 0: nothing is reserved"""
    store_reserve: float = 0.1
    """share of it that creations of tenants cannot use: it is kept for deletes and operators"""
    image_replicas: int = 1
    """NATS servers that keep each image's bytes; more than 1 needs a cluster of as many"""
    token_hours: float = 24.0
    image_grant_minutes: float = 60.0
    host_call_timeout: float = 10.0
    request_timeout: float = 60.0
    """seconds after which a request is answered with 503; uploads and downloads of images take as long as they do"""
    policy_file: str = ""
    """a policy.yaml that overrides default rules of compute; empty: none"""
    identity_policy_file: str = ""
    """the same for Keystone's rules of the built-in identity"""
    image_policy_file: str = ""
    """the same for Glance's rules of the built-in images"""
    workers: int = 1

    @property
    def url(self) -> str:
        scheme = "https" if self.http.tls_cert else "http"
        return self.public_url.rstrip("/") or f"{scheme}://{self.host}:{self.port}"


@frozen
class ConductorSettings:
    lease_ttl: int = 5
    """seconds until a dead conductor's shards are taken over"""
    rescan_seconds: float = 2.0
    """how late an operation may start when its hint was lost"""
    host_lease_ttl: int = 30
    """seconds without a heartbeat until a host is shown as down; a third of it later, builds on it are given to others.
    Below 30 a reconnection of many hosts to NATS may look like their death"""
    spawn_timeout: float = 600.0
    command_timeout: float = 120.0
    stop_timeout: float = 60.0
    """seconds that a guest gets to shut down by itself"""
    suspend_timeout: float = 600.0
    """seconds that writing a guest's memory to disk, or reading it back, may take"""
    max_attempts: int = 3
    """hosts that are tried for a build"""
    deleted_days: int = 7
    """how long deleted servers are kept for history"""
    upkeep_seconds: float = 300.0
    """between two looks of a super conductor at whether claims are what servers need"""


@frozen
class SchedulerSettings:
    """Nova's `[scheduler]`, and what it keeps in `[DEFAULT]` for the scheduler's sake."""

    cpu_allocation_ratio: float = 4.0
    ram_allocation_ratio: float = 1.0
    disk_allocation_ratio: float = 1.0
    reserved_host_memory_mb: int = 512
    reserved_host_disk_mb: int = 0
    max_attempts: int = 3
    default_availability_zone: str = "nova"
    """shown for hosts that no aggregate puts into a zone"""
    default_schedule_zone: str = ""
    """for requests that name no zone; empty: any"""
    query_placement_for_image_type_support: bool = False
    limit_tenants_to_placement_aggregate: bool = False
    placement_aggregate_required_for_tenants: bool = False
    enable_isolated_aggregate_filtering: bool = False
    image_metadata_prefilter: bool = False
    alternates_in_same_cell: bool = False
    """true: alternates are hosts of the chosen host's cell, as in Nova, which cannot leave it"""


@frozen
class FilterSchedulerSettings:
    """Nova's `[filter_scheduler]`."""

    enabled_filters: tuple[str, ...] = (
        "ComputeFilter",
        "ComputeCapabilitiesFilter",
        "ImagePropertiesFilter",
        "ServerGroupAntiAffinityFilter",
        "ServerGroupAffinityFilter",
    )
    enabled_weighers: tuple[str, ...] = ()
    """empty: all, built-in and by entry point"""
    host_subset_size: int = 1
    """the host is drawn from so many best"""
    shuffle_best_same_weighed_hosts: bool = False
    max_io_ops_per_host: int = 8
    max_instances_per_host: int = 50
    isolated_hosts: tuple[str, ...] = ()
    isolated_images: tuple[str, ...] = ()
    restrict_isolated_hosts_to_isolated_images: bool = True
    aggregate_image_properties_isolation_namespace: str = ""
    aggregate_image_properties_isolation_separator: str = "."
    image_properties_default_architecture: str = ""
    ram_weight_multiplier: float = 1.0
    cpu_weight_multiplier: float = 1.0
    disk_weight_multiplier: float = 1.0
    io_ops_weight_multiplier: float = -1.0
    pci_weight_multiplier: float = 1.0
    soft_affinity_weight_multiplier: float = 1.0
    soft_anti_affinity_weight_multiplier: float = 1.0
    build_failure_weight_multiplier: float = 1000000.0
    cross_cell_move_weight_multiplier: float = 1000000.0
    num_instances_weight_multiplier: float = 0.0
    hypervisor_version_weight_multiplier: float = 1.0
    image_props_weight_multiplier: float = 0.0
    image_props_weight_setting: tuple[str, ...] = ()
    """`property=weight`; empty: every property counts 1"""


@frozen
class MetricsSettings:
    """Nova's `[metrics]`."""

    weight_multiplier: float = 1.0
    weight_setting: tuple[str, ...] = ()
    """`metric=ratio`"""
    required: bool = True
    """a host without a metric is filtered by MetricsFilter; false: it weighs `weight_of_unavailable`"""
    weight_of_unavailable: float = -10000.0


@frozen
class PlacementSettings:
    """The Placement API, beside the others or as a process of its own."""

    host: str = "127.0.0.1"
    port: int = 8778
    """where `kilonova placement` listens"""
    http: HttpSettings = HttpSettings()
    auth_strategy: Literal["keystone", "noauth2"] = "keystone"
    """noauth2 believes what a request's headers say of it: for tests only"""
    policy_file: str = ""
    """a policy.yaml that overrides default rules; empty: none"""
    enforce_new_defaults: bool = True
    """False: the old rules, by which the role admin may do everything, hold as well"""
    allocation_conflict_retry_count: int = 10
    """how often a change that another one overtook is decided again"""
    incomplete_consumer_project_id: str = "00000000-0000-0000-0000-000000000000"
    incomplete_consumer_user_id: str = "00000000-0000-0000-0000-000000000000"
    randomize_allocation_candidates: bool = False
    max_allocation_candidates: int = -1
    """candidates that are generated before `limit` is applied; -1: all"""
    allocation_candidates_generation_strategy: Literal["depth-first", "breadth-first"] = "depth-first"
    cors: CorsSettings = CorsSettings()


@frozen
class PciSettings:
    """Nova's `[pci]`."""

    alias: tuple[str, ...] = ()
    """JSON objects with `name` and any of `vendor_id`, `product_id`, `device_type`, `numa_policy`"""


@frozen
class ComputeSettings:
    """Nova's `[compute]` of a host, and what it keeps in `[DEFAULT]` for the same end."""

    cpu_shared_set: str = ""
    """processors that float over shared guests, such as `0-3,^2`; empty: all, or none where there are dedicated ones"""
    cpu_dedicated_set: str = ""
    """processors that guests with dedicated ones are pinned to; empty: none"""
    reserved_host_cpus: int = 0
    """kept for the host itself; only where neither set says so"""


@frozen
class DeviceSettings:
    """Nova's `[pci]` of a host."""

    device_spec: tuple[str, ...] = ()
    """which devices may be passed through: JSON objects with any of `vendor_id`, `product_id`, and `address` or
    `devname`"""


@frozen
class SimulatedSettings:
    hosts: int = 1
    """hosts that one agent process plays, named `{host}-{n}` when more than one"""
    vcpus: int = 64
    """processors, in equal parts in the NUMA cells, and there in cores of so many threads"""
    numa_cells: int = 1
    threads: int = 1
    huge_pages: dict[str, int] = field(factory=dict)
    """of each NUMA cell: KiB of a page -> how many"""
    devices: tuple[str, ...] = ()
    """that may be passed through: JSON objects with `vendor_id`, `product_id`, and any of `count`, `device_type` and
    `numa_node`"""
    memory_mb: int = 262144
    local_gb: int = 4000
    spawn_seconds: float = 0.0
    other_seconds: float = 0.0
    failure_rate: float = 0.0
    """of spawns"""
    delays: dict[str, float] = field(factory=dict)
    """seconds that a verb takes, by its name, or on one host, by `host:verb`; before the two above"""
    failures: dict[str, float] = field(factory=dict)
    """chance that a verb fails, by the same names; before `failure_rate`"""
    seed: int = 0
    state_dir: str = ""
    """where the simulated guests are kept over a restart; empty: nowhere"""


@frozen
class LibvirtSettings:
    uri: str = "qemu:///system"
    hostname: str = ""
    """hypervisor_hostname; empty: the machine's host name"""
    host_ip: str = ""
    """empty: the source address of the default route"""
    state_dir: Path = Path("/var/lib/kilonova")
    """images and guests; one file system, since guests hold hard links to images"""

    domain_type: Literal["auto", "kvm", "qemu"] = "auto"
    """auto: kvm when a probe ran guest code with it, else qemu, which emulates"""
    kvm_trial_seconds: float = 10.0
    """how long the first guest with KVM is watched before its start counts, unless it has an address sooner: where the
    hypervisor stops it, guests are emulated (auto) or refused (kvm)"""
    cpu_mode: Literal["auto", "host-model", "host-passthrough", "maximum", "custom", "none"] = "auto"
    """auto: host-model with kvm, none (QEMU's default model) without"""
    cpu_model: str = ""
    """for cpu_mode custom"""
    reserved_memory_mb: int = 0
    """taken off what the host reports, beyond the reserve that the site keeps on every host"""
    reserved_disk_gb: int = 0

    network: Literal["nat", "bridge"] = "nat"
    """nat: libvirt's network `nat_network`, made when missing; bridge: the host's own `bridge`, with DHCP behind it"""
    nat_network: str = "kilonova"
    nat_bridge: str = "kilonova0"
    nat_subnet: str = "10.171.0.0/20"
    """wide, because a deleted server's lease lasts up to an hour"""
    bridge: str = "br0"

    vnc_listen: str = "127.0.0.1"
    dhcp_domain: str = "novalocal"
    """appended to the host name that a guest is told, as Nova does; empty: nothing"""
    disk_cache: Literal["auto", "none", "writeback", "unsafe"] = "auto"
    """auto: none where the file system of `state_dir` has direct I/O, else writeback"""
    ephemeral_mkfs: tuple[str, ...] = ("mkfs.ext4", "-q", "-F", "-L", "ephemeral0")
    """formats an ephemeral disk, whose path is appended; empty: left blank"""
    console_bytes: int = 102400
    """how much of a console's log is shown at most: Nova's figure"""

    call_timeout: float = 60.0
    """seconds that one call to libvirt or one run of a tool may take"""
    save_timeout: float = 600.0
    """seconds that writing a guest's memory to disk, or reading it back, may take"""
    image_timeout: float = 1800.0
    """seconds that fetching an image may take; a stall of 30 seconds ends it sooner"""
    image_ca_file: str = ""
    """PEM file of who signed the image server's certificate; empty: the system's"""
    keepalive_seconds: int = 2
    """libvirtd is given up after three unanswered ones"""
    workers: int = 8
    """threads that wait for libvirt"""
    address_poll_seconds: float = 1.0
    """how often leases are read while a running guest lacks an address"""

    @property
    def images_dir(self) -> Path:
        return self.state_dir / "images"

    def guest_dir(self, server: str) -> Path:
        return self.state_dir / "guests" / server


@frozen
class AgentSettings:
    host: str = ""
    """empty: the machine's host name"""
    cell: str = "cell1"
    driver: str = "libvirt"
    state_dir: str = "/var/lib/kilonova"
    heartbeat_seconds: float = 3.0
    inventory_seconds: float = 60.0
    resume_guests_state_on_host_boot: bool = False
    """start the guests that ran when the machine went down"""
    site: str = "kilonova"
    bus: BusSettings = BusSettings()
    compute: ComputeSettings = ComputeSettings()
    pci: DeviceSettings = DeviceSettings()
    simulated: SimulatedSettings = SimulatedSettings()
    libvirt: LibvirtSettings = LibvirtSettings()


@frozen
class ProcessSettings:
    log_level: str = "info"
    log_format: str = "json"
    """json or console"""
    observe_host: str = "127.0.0.1"
    observe_port: int = 0
    """where the process serves /metrics, /healthz and /readyz; 0: nowhere. An API serves the last two on its own port
    too, metrics never"""
    http: HttpSettings = HttpSettings()
    """of the observed port"""
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
    filter_scheduler: FilterSchedulerSettings = field(factory=FilterSchedulerSettings)
    metrics: MetricsSettings = field(factory=MetricsSettings)
    pci: PciSettings = field(factory=PciSettings)
    placement: PlacementSettings = field(factory=PlacementSettings)
    agent: AgentSettings = field(factory=AgentSettings)
