"""Accepts servers: a global transaction writes all that the 202 promises, and charges it."""

from typing import Final
from weakref import WeakKeyDictionary

from control.servers.admission import Admission, Applicants
from control.servers.draft import ServerDraft
from control.servers.expansion import add_servers, at_once, servers_of, uuid_at
from control.servers.quota import LimitRecords, charge_of, read_limits
from control.top import Top
from kv.txn import Txn
from runtime import ambient
from schemas.context import REQUEST_ID
from schemas.identity import Identity
from schemas.messages import Wake
from schemas.server import Instance
from schemas.shards import shard_of
from schemas.subjects import top_wake

__all__ = ["ServerDraft", "create_servers"]

MAX_DOORS: Final = 1000
"""projects of which a process remembers the usage"""

_doors: WeakKeyDictionary[Top, dict[str, Admission]] = WeakKeyDictionary()
"""by project, the one that was used last at the end; they hold no truth, only what waits"""


async def create_servers(
    top: Top, identity: Identity, draft: ServerDraft, limits: LimitRecords | None = None
) -> tuple[str, list[Instance]]:
    """The reservation id and the servers as accepted, of which those beyond the first twenty are written in a moment.
    Raises QuotaExceeded when `min_count` do not fit. `limits` are the asker's, if the caller has just read them."""
    reservation = "r-" + ambient.new_uuid()[:8]
    parent = ambient.new_uuid()
    uuids = [uuid_at(parent, index) for index in range(draft.max_count)]
    servers = servers_of(draft, identity, uuids, reservation, ambient.now())
    limits = limits or await read_limits(top.store, identity.project, identity.user)
    charge = charge_of(draft.flavor.copy_for_server())
    first = at_once(draft)
    request_id = REQUEST_ID.get()  # the door's transactions run in another request's context

    def write(txn: Txn, taken: list[Instance]) -> None:
        add_servers(txn, draft, taken, charge, request_id, parent)

    applicants = Applicants(servers, charge, limits, draft.min_count, write, draft.group)
    accepted = servers[: await _door(top, identity.project).admit(applicants)]
    for server in accepted[:first]:
        await top.bus.hint(top_wake(shard_of(server.uuid)), Wake(server.uuid, server.created_us, server.project))
    if len(accepted) > first:
        await top.bus.hint(top_wake(shard_of(parent)), Wake(parent))
    return reservation, accepted


def _door(top: Top, project: str) -> Admission:
    doors = _doors.setdefault(top, {})
    door = doors[project] = doors.pop(project) if project in doors else Admission(top, project)
    if len(doors) > MAX_DOORS:
        oldest = next(iter(doors))
        if doors[oldest].idle:
            del doors[oldest]
    return door
