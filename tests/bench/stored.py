"""Servers that are there already when a bench begins: the records that finished boots leave, written in bulk."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from control.conductor.cell.commit import finished_action
from control.placement.resources import needed_by, with_claim
from control.servers.quota import charge_of, charged
from kv.client import Etcd
from kv.keys import Cell, Global
from kv.store import Store
from kv.txn import Stored, Txn
from schemas.host import HostMapping
from schemas.operation import Line, Operation
from schemas.placement import Allocation, Usages
from schemas.quota import QuotaUsage
from schemas.server import FlavorCopy, HostedServer, Instance, InstanceMapping, RequestSpec, ServerIndex, time_key
from schemas.settings import Settings

PROJECT = "stored"
"""no project that anybody logs in to: its servers weigh on the store, not on the lists of the one that boots"""
FLAVOR = FlavorCopy("stored", "stored", vcpus=1, memory_mb=64, root_gb=1)
PART = 10
"""A tenth of a host is what one of the servers takes that fill a site."""
AWAY = "away-"
"""They weigh on real hosts' providers but name hosts for which no agent speaks: an agent would miss their guests."""
KEYS_PER_SERVER = 5
BATCH = 128 // KEYS_PER_SERVER
IN_FLIGHT = 8


async def fill(settings: Settings, taken: int, percent: int) -> int:
    """Of hosts that are all alike and `taken` percent full, makes ones that are `percent` full, both in tens. How many
    servers that took."""
    etcd = Etcd(settings.top.store)
    try:
        providers = await Store(etcd, settings.top.prefix).range(Global.PROVIDERS.under())
    finally:
        await etcd.close()
    capacity = {name: one.capacity for name, one in providers[0].value.inventories.items()}
    flavor = FlavorCopy(
        "tenth",
        "tenth",
        vcpus=capacity["VCPU"] // PART,
        memory_mb=capacity["MEMORY_MB"] // PART,
        root_gb=capacity["DISK_GB"] // PART,
    )
    count = len(providers) * (percent - taken) * PART // 100
    await store_servers(settings, count, flavor=flavor)
    return count


async def store_servers(settings: Settings, count: int, project: str = PROJECT, flavor: FlavorCopy = FLAVOR) -> None:
    """Adds `count` servers to the project, spread evenly over the hosts, claims and charges included."""
    etcd = Etcd(settings.top.store)
    try:
        top, cell = Store(etcd, settings.top.prefix), Store(etcd, settings.cell.prefix)
        hosts = [stored.value for stored in await top.range(Global.HOSTS.under())]
        now = datetime.now(UTC) - timedelta(days=1)
        servers = [
            _server(project, now + timedelta(milliseconds=i), hosts[i % len(hosts)], flavor) for i in range(count)
        ]
        turns = asyncio.Semaphore(IN_FLIGHT)

        async def write(part: Sequence[Instance]) -> None:
            async with turns:
                await top.commit(_at_top(part, {host.host: host.uuid for host in hosts}, settings.cell.name))
                await cell.commit(_in_cell(part))

        parts = [servers[i : i + BATCH] for i in range(0, count, BATCH)]
        await asyncio.gather(*(write(part) for part in parts))
        for number, host in enumerate(hosts):
            await _claim(top, host, flavor, len(range(number, count, len(hosts))))
        key = Global.QUOTA_USAGE(project)
        known = await top.get(key)
        used = charged(known.value if known else QuotaUsage(), "bench", charge_of(flavor), count)
        await top.commit(Txn("bench").put(key, used))
    finally:
        await etcd.close()


def _server(project: str, created: datetime, host: HostMapping, flavor: FlavorCopy) -> Instance:
    uuid = str(uuid4())
    return Instance(
        uuid=uuid,
        project=project,
        user="bench",
        name=f"stored-{uuid[:8]}",
        hostname=f"stored-{uuid[:8]}",
        created=created,
        updated=created,
        flavor=flavor,
        image=None,
        vm_state="active",
        power_state=1,
        host=AWAY + host.host,
        node=AWAY + host.host,
        instance_name=f"instance-{UUID(uuid).int >> 96:08x}",
        launched=created,
        availability_zone="nova",
        networks="none",
    )


def _at_top(servers: Sequence[Instance], providers: dict[str, str], cell: str) -> Txn:
    txn = Txn("bench")
    for server in servers:
        when, index = time_key(server.created_us, server.uuid), ServerIndex(server.project, cell)
        flavor = server.flavor
        charge, claim = charge_of(flavor), {providers[str(server.host).removeprefix(AWAY)]: needed_by(flavor)}
        txn.put(
            Global.INSTANCES(server.uuid),
            InstanceMapping(server.uuid, server.project, server.user, server.created, cell, charge=charge),
        )
        txn.put(Global.PROJECT_SERVERS(server.project, when), index)
        txn.put(Global.ALL_SERVERS(when), index)
        txn.put(Global.SPECS(server.uuid), RequestSpec(server.uuid, server.project, server.user, flavor, None))
        txn.put(
            Global.ALLOCATIONS(server.uuid), Allocation(server.uuid, server.project, server.user, claim, server.created)
        )
    return txn


def _in_cell(servers: Sequence[Instance]) -> Txn:
    txn = Txn("bench")
    for server in servers:
        boot = Operation(
            server=server.uuid,
            kind="boot",
            step="spawn",
            started=server.created,
            deadline=server.created,
            request_id=f"req-{server.uuid}",
            project=server.project,
            created_us=server.created_us,
            host=server.host,
            story=(Line(server.created, "accepted"), Line(server.created, f"handed to host {server.host}")),
        )
        txn.put(Cell.INSTANCES(server.project, time_key(server.created_us, server.uuid)), server)
        txn.put(Cell.BY_HOST(str(server.host), server.uuid), HostedServer(server.project, server.created_us))
        txn.put(Cell.ACTIONS(server.uuid, boot.request_id), finished_action(boot, server, None, server.created))
    return txn


async def _claim(top: Store, host: HostMapping, flavor: FlavorCopy, servers: int) -> None:
    key = Global.USAGES(host.uuid)
    known: Stored[Usages] | None = await top.get(key)
    amounts = {name: amount * servers for name, amount in needed_by(flavor).items()}
    await top.commit(Txn("bench").put(key, with_claim(known.value if known else Usages(), amounts)))
