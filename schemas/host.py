"""Hosts, services, cells: who can run servers and where they report."""

from datetime import datetime

from attrs import field, frozen

from schemas.codec import record
from schemas.guest import HostFacts


@record(1)
@frozen
class Host:
    """A host's inventory as last reported. `uuid` is its provider's and its compute node's."""

    host: str
    uuid: str
    facts: HostFacts
    reported: datetime


@record(1)
@frozen
class Service:
    """A process as it registered. A new `session` begins with each start; an agent's `host_id` is its machine's. The
    `version` is the release of the records and messages that it knows."""

    host: str
    binary: str
    uuid: str
    host_id: str
    session: str
    version: int
    created: datetime
    updated: datetime
    speaker: str = ""
    """the host on whose subjects its heartbeats are sent; empty: its own"""


@record(1)
@frozen
class Alive:
    """Lives as long as its lease, which the shard's owner renews on each heartbeat. A host is up when it has one that
    is ready."""

    session: str
    since: datetime
    unready: str = ""
    """why the host, though its agent is heard, takes no work: it is registering, or its hypervisor does not answer"""


@record(1)
@frozen
class FailedBuilds:
    """How many builds in a row a host has given back; the next one that succeeds removes the record."""

    count: int


@record(1)
@frozen
class HostMapping:
    host: str
    cell: str
    uuid: str
    disabled: bool = False
    disabled_reason: str | None = None
    forced_down: bool = False


@frozen
class StoreAddress:
    """An etcd and a prefix in it. `secret` holds the user's credentials, encrypted under the site key."""

    endpoints: tuple[str, ...]
    prefix: str
    secret: str | None = field(default=None, repr=False)


@frozen
class BusAddress:
    url: str
    secret: str | None = field(default=None, repr=False)


@record(1)
@frozen
class CellMapping:
    """`bus` is None for cell0, which has a store and nothing else."""

    name: str
    uuid: str
    store: StoreAddress
    bus: BusAddress | None
    disabled: bool = False
