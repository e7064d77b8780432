"""A request for more servers than one transaction holds: one parent operation carries those that were accepted and
charged with it, and its owner writes them, so many a transaction. Pure.

The parent names no server; it goes in the transaction that writes the last ones. The servers' ids follow from its own
and their places in the request, so that it stays as small as it is however many they are.
"""

from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Final
from uuid import UUID

from attrs import evolve

from control.servers.draft import ServerDraft, instances_of
from control.servers.quota import charge_of
from kv.keys import Global
from kv.txn import Stored, Txn
from schemas.codec import from_dict, to_dict
from schemas.identity import Identity
from schemas.operation import Line, Operation
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

KIND: Final = "multi-create"
MAX_SERVERS: Final = 20
"""a transaction: six writes each, and etcd takes 128"""
MAX_BYTES: Final = 512 << 10
"""of records a transaction; etcd takes 1.5 MiB in all"""
_NOBODY: Final = Identity("0" * 32, "", "0" * 32, "", frozenset())
_NEVER: Final = datetime(2030, 1, 1, tzinfo=UTC)


def at_once(draft: ServerDraft) -> int:
    """How many servers of this request one transaction takes, by what the records of one are worth."""
    if draft.max_count == 1:
        return 1
    txn, sample = Txn("expand"), instances_of(draft, _NOBODY, [uuid_at("", 0)], "r-", _NEVER)[0]
    add_server(txn, draft, sample, charge_of(sample.flavor), "req-")
    return max(1, min(MAX_SERVERS, MAX_BYTES // txn.size))


def uuid_at(parent: str, index: int) -> str:
    """The id of a request's server by its place, from 0, and the request's parent."""
    return str(UUID(bytes=blake2b(f"{parent}/{index}".encode(), digest_size=16).digest(), version=4))


def servers_of(
    draft: ServerDraft, identity: Identity, uuids: list[str], reservation: str, now: datetime, first: int = 0
) -> list[Instance]:
    """Distinct creation times keep the order of a multi-create in lists. `first`: as in `instances_of`."""
    return [
        evolve(server, created=now + timedelta(microseconds=index)) if index else server
        for index, server in enumerate(instances_of(draft, identity, uuids, reservation, now, first), first)
    ]


def add_servers(
    txn: Txn, draft: ServerDraft, servers: list[Instance], charge: Charge, request_id: str, parent: str
) -> None:
    """The first servers, and the parent operation of the rest if there is one. Their ids are those of `uuid_at`."""
    now = at_once(draft)
    for server in servers[:now]:
        add_server(txn, draft, server, charge, request_id)
    if len(servers) > now:
        first = servers[0]
        inputs: dict[str, Any] = {
            "draft": to_dict(draft),
            "reservation": first.reservation,
            "count": len(servers),
            "written": now,
        }
        operation = Operation(
            server=parent,
            kind=KIND,
            step="expand",
            started=first.created,
            deadline=first.created + timedelta(hours=1),
            request_id=request_id,
            user=first.user,
            project=first.project,
            inputs=inputs,
            story=(Line(first.created, f"{len(servers)} servers accepted"),),
        )
        txn.create(Global.OPERATIONS(shard_of(parent), parent), operation)


def expansion(parent: Stored[Operation]) -> tuple[Txn, list[Instance]]:
    """The next servers, compared with the parent; the caller adds its fence."""
    op = parent.value
    draft = from_dict(ServerDraft, op.inputs["draft"])
    count, written = op.inputs["count"], op.inputs["written"]
    identity = Identity(op.user, op.user, op.project, op.project, frozenset())
    uuids = [uuid_at(op.server, index) for index in range(written, min(count, written + at_once(draft)))]
    servers = servers_of(draft, identity, uuids, op.inputs["reservation"], op.started, written)
    charge = charge_of(draft.flavor.copy_for_server())
    txn = Txn("expand")
    for server in servers:
        add_server(txn, draft, server, charge, op.request_id)
    written += len(servers)
    if written < count:
        txn.replace(parent, evolve(op, inputs={**op.inputs, "written": written}))
    else:
        txn.remove(parent)
    return txn, servers


def add_server(txn: Txn, draft: ServerDraft, server: Instance, charge: Charge, request_id: str) -> None:
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
        request_id=request_id,
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
        group=draft.group,
    )
    mapping = InstanceMapping(
        uuid=uuid, project=project, user=server.user, created=server.created, charge=charge, group=draft.group
    )
    txn.create(Global.INSTANCES(uuid), mapping)
    txn.put(Global.PROJECT_SERVERS(project, when), index)
    txn.put(Global.ALL_SERVERS(when), index)
    txn.put(Global.REQUESTS(uuid), BuildRequest(server, draft.user_data))
    txn.put(Global.SPECS(uuid), spec)
    txn.put(Global.OPERATIONS(shard_of(uuid), uuid), operation)
