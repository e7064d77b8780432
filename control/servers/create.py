"""Accepts servers: a global transaction writes all that the 202 promises, up to 20 servers at once."""

from datetime import timedelta
from weakref import WeakKeyDictionary

from attrs import evolve

from control.servers.admission import MAX_SERVERS, Admission, Applicants
from control.servers.draft import ServerDraft, instances_of
from control.servers.quota import charge_of, limits_of
from control.top import Top
from kv.keys import Global
from kv.txn import Txn
from runtime import ambient
from schemas.context import REQUEST_ID
from schemas.identity import Identity
from schemas.messages import Wake
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
from schemas.subjects import top_wake

__all__ = ["ServerDraft", "create_servers"]

_doors: WeakKeyDictionary[Top, dict[str, Admission]] = WeakKeyDictionary()
"""by project; they hold no truth, only who waits"""


async def create_servers(
    top: Top, identity: Identity, draft: ServerDraft, limits: dict[str, int] | None = None
) -> tuple[str, list[Instance]]:
    """The reservation id and the servers as accepted. Raises QuotaExceeded when `min_count` do not fit. `limits` are
    the project's, if the caller has just read them."""
    reservation = "r-" + ambient.new_uuid()[:8]
    now = ambient.now()
    # Distinct creation times keep the order of a multi-create in lists.
    uuids = [ambient.new_uuid() for _ in range(draft.max_count)]
    servers = [
        evolve(s, created=now + timedelta(microseconds=i), updated=now)
        for i, s in enumerate(instances_of(draft, identity, uuids, reservation, now))
    ]
    limits = limits or await limits_of(top.store, identity.project)
    charge = charge_of(draft.flavor.copy_for_server())
    door = _door(top, identity.project)
    request_id = REQUEST_ID.get()  # the door's transactions run in another request's context

    def write(txn: Txn, server: Instance) -> None:
        add_server(txn, draft, server, charge, request_id)

    accepted: list[Instance] = []
    while len(accepted) < len(servers):
        batch = servers[len(accepted) : len(accepted) + MAX_SERVERS]
        needed = max(0, draft.min_count - len(accepted))
        size = len(draft.user_data or "") * len(batch)
        taken = await door.admit(Applicants(batch, charge, limits, needed, write, size, draft.group))
        accepted += batch[:taken]
        if taken < len(batch):
            break
    for server in accepted:
        await top.bus.hint(top_wake(shard_of(server.uuid)), Wake(server.uuid, server.created_us, server.project))
    return reservation, accepted


def _door(top: Top, project: str) -> Admission:
    doors = _doors.setdefault(top, {})
    if project not in doors:
        doors[project] = Admission(top, project)
    return doors[project]


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
