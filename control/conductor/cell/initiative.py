"""What a cell begins or notes on a server without having been asked, and how its history tells of it. Pure."""

from datetime import datetime, timedelta

from attrs import evolve

from control.conductor.cell.reconcile import Observed
from control.servers.history import ACTIONS
from control.servers.states import RULES
from kv.keys import Cell
from kv.txn import Stored, Txn
from schemas.operation import Action, ActionEvent, Line, Operation
from schemas.server import Instance
from schemas.shards import shard_of


def noted(stored: Stored[Instance], found: Observed, request_id: str, now: datetime, seconds: float) -> Txn:
    """Rewrites the record of a server at rest; what changed its vm_state is an entry of its history. `seconds`: how
    long an operation that follows may take."""
    after = found.instance
    if found.begin is not None:
        return begun(evolve(stored, value=after), found.begin, found.why, request_id, now, seconds)
    txn = Txn("guest changed").replace(stored, after).absent(Cell.OPERATIONS(shard_of(after.uuid), after.uuid))
    if after.vm_state != stored.value.vm_state:
        kind = "stop" if after.vm_state in ("stopped", "error") else "start"
        txn.put(Cell.ACTIONS(after.uuid, request_id), _entry(after, kind, found.why, request_id, now))
    return txn


def begun(stored: Stored[Instance], kind: str, why: str, request_id: str, now: datetime, seconds: float) -> Txn:
    """An operation as the API would begin it, on a server at rest."""
    before = stored.value
    after = evolve(before, task_state=RULES[kind].task, generation=before.generation + 1, updated=now)
    operation = Operation(
        server=before.uuid,
        kind=kind,
        step="command",
        started=now,
        deadline=now + timedelta(seconds=seconds),
        request_id=request_id,
        user=before.user,
        project=before.project,
        created_us=before.created_us,
        attempt=before.attempt,
        generation=after.generation,
        host=before.host,
        story=(Line(now, why),),
    )
    txn = Txn("guest changed").replace(stored, after)
    return txn.create(Cell.OPERATIONS(shard_of(before.uuid), before.uuid), operation)


def _entry(server: Instance, kind: str, why: str, request_id: str, now: datetime) -> Action:
    action, event = ACTIONS[kind]
    failed = server.vm_state == "error"
    return Action(
        server=server.uuid,
        action=action,
        request_id=request_id,
        user=server.user,
        project=server.project,
        started=now,
        updated=now,
        message="Error" if failed else None,
        events=(ActionEvent(event, now, now, "Error" if failed else "Success", server.host, details=why),),
        story=(Line(now, why),),
    )
