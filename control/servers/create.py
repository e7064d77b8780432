"""Accepts servers: a global transaction writes all that the 202 promises, up to 20 servers at once."""

import asyncio
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from attrs import evolve

from control.servers.commits import commit_settled, retried
from control.servers.draft import ServerDraft, instances_of
from control.servers.quota import charge_of, charged, check_quota, headroom, limits_of
from control.top import Top
from kv.keys import Global
from kv.txn import Stored, Txn
from schemas.context import REQUEST_ID
from schemas.identity import Identity
from schemas.messages import Wake
from schemas.operation import Line, Operation
from schemas.quota import QuotaUsage
from schemas.server import (
    BuildRequest,
    Charge,
    Instance,
    InstanceMapping,
    RequestSpec,
    ServerIndex,
    time_key,
)
from schemas.shards import shard_of
from schemas.subjects import top_wake

__all__ = ["ServerDraft", "create_servers"]

BATCH = 20
"""servers a transaction: six writes each, and etcd takes 128"""

_project_turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
"""Creations of one project in this process take turns at its quota record instead of losing races for it."""

_last_usage: dict[str, Stored[QuotaUsage]] = {}
"""The quota records as this process left them: a guess that the commit compares."""


async def create_servers(top: Top, identity: Identity, draft: ServerDraft) -> tuple[str, list[Instance]]:
    """The reservation id and the servers as accepted. Raises QuotaExceeded when `min_count` do not fit."""
    reservation = "r-" + uuid4().hex[:8]
    now = datetime.now(UTC)
    # Distinct creation times keep the order of a multi-create in lists.
    uuids = [str(uuid4()) for _ in range(draft.max_count)]
    servers = [
        evolve(s, created=now + timedelta(microseconds=i), updated=now)
        for i, s in enumerate(instances_of(draft, identity, uuids, reservation, now))
    ]
    limits = await limits_of(top.store, identity.project)
    accepted: list[Instance] = []
    while len(accepted) < len(servers):
        batch = servers[len(accepted) : len(accepted) + BATCH]
        needed = max(0, draft.min_count - len(accepted))
        taken = await _accept(top, identity, draft, batch, limits, needed)
        accepted += batch[:taken]
        if taken < len(batch):
            break
    for server in accepted:
        await top.bus.hint(top_wake(shard_of(server.uuid)), Wake(server.uuid))
    return reservation, accepted


async def _accept(
    top: Top, identity: Identity, draft: ServerDraft, servers: list[Instance], limits: dict[str, int], needed: int
) -> int:
    """Accepts as many of these as the quota allows, in one transaction; fewer than `needed` raise QuotaExceeded.
    `needed` may be more than are given here: it counts those of later batches too."""
    key = Global.QUOTA_USAGE(identity.project)
    charge = charge_of(servers[0].flavor)

    async def once() -> int:
        stored = _last_usage.pop(identity.project, None) or await top.store.get(key)
        usage = stored.value if stored else QuotaUsage()
        if needed:
            check_quota(usage, charge, limits, needed)
        taken = min(len(servers), headroom(usage, charge, limits))
        if not taken:
            return 0
        txn = Txn("accept server")
        for server in servers[:taken]:
            add_server(txn, draft, server, charge)
        spent = charged(usage, charge, taken)
        if stored:
            txn.replace(stored, spent)
        else:
            txn.create(key, spent)
        pivot = stored or Stored(key, usage, 0, 0)
        await commit_settled(top.store, txn, pivot, lambda: _is_mapped(top, servers[0].uuid))
        if txn.revision:
            _last_usage[identity.project] = Stored(key, spent, txn.revision, pivot.create_revision)
        return taken

    async with _project_turns[identity.project]:
        return await retried(once)


async def _is_mapped(top: Top, uuid: str) -> bool:
    return await top.store.get(Global.INSTANCES(uuid)) is not None


def add_server(txn: Txn, draft: ServerDraft, server: Instance, charge: Charge) -> None:
    """All records of a new server but its project's usage."""
    uuid, project = server.uuid, server.project
    when = time_key(server.created_us, uuid)
    index = ServerIndex(project)
    operation = Operation(
        server=uuid,
        kind="build",
        step="schedule",
        started=server.created,
        deadline=server.created + timedelta(hours=1),
        request_id=REQUEST_ID.get(),
        user=server.user,
        project=project,
        created_us=server.created_us,
        story=(Line(server.created, "accepted"),),
    )
    spec = RequestSpec(
        uuid=uuid,
        project=project,
        user=server.user,
        flavor=server.flavor,
        image=server.image,
        availability_zone=draft.availability_zone,
        forced_host=draft.forced_host,
        requested_host=draft.requested_host,
        scheduler_hints=draft.scheduler_hints,
    )
    mapping = InstanceMapping(uuid=uuid, project=project, user=server.user, created=server.created, charge=charge)
    txn.create(Global.INSTANCES(uuid), mapping)
    txn.put(Global.PROJECT_SERVERS(project, when), index)
    txn.put(Global.ALL_SERVERS(when), index)
    txn.put(Global.REQUESTS(uuid), BuildRequest(server, draft.user_data))
    txn.put(Global.SPECS(uuid), spec)
    txn.put(Global.OPERATIONS(shard_of(uuid), uuid), operation)
