"""Turns a saga's decision into one transaction of the cell's store. Pure but for the Txn that it returns."""

from datetime import datetime

from attrs import evolve

from control.conductor.sagas.table import Advance, Decision, Finish, GiveBack, Remove
from control.servers.deletion import removal
from control.servers.history import ACTIONS
from kv.keys import Cell
from kv.txn import Stored, Txn
from schemas.operation import Action, ActionEvent, Line, Operation, Outbox
from schemas.server import Instance


def transaction(decision: Decision, operation: Stored[Operation], instance: Stored[Instance], now: datetime) -> Txn:
    """Compares both records; the caller adds its fence."""
    op = operation.value
    match decision:
        case Advance():
            return Txn(f"{op.kind} step").replace(operation, decision.operation).replace(instance, decision.instance)
        case Finish():
            action = finished_action(op, decision.instance, decision.error, now)
            return (
                Txn(f"{op.kind} finish")
                .replace(instance, decision.instance)
                .remove(operation)
                .put(Cell.ACTIONS(op.server, op.request_id), action)
            )
        case Remove():
            txn = Txn("delete finish").remove(instance).remove(operation)
            removal(txn, instance.value, op, now)
            return txn
        case GiveBack():
            outbox = Outbox(
                server=op.server,
                kind="build-failed",
                project=op.project,
                created_us=op.created_us,
                attempt=op.attempt,
                generation=decision.instance.generation,
                host=op.host,
                at=now,
                fault=decision.fault,
            )
            txn = (
                Txn("give back")
                .replace(operation, decision.operation)
                .replace(instance, evolve(decision.instance, updated=now))
                .put(Cell.OUTBOX(op.server, op.attempt), outbox)
            )
            # What the host has of it is a stray from now on.
            return txn.delete(Cell.BY_HOST(op.host, op.server)) if op.host else txn


def finished_action(op: Operation, instance: Instance, error: str | None, now: datetime) -> Action:
    action, name = ACTIONS[op.kind]
    result = "Error" if error else "Success"
    event = ActionEvent(name, op.started, now, result, instance.host, details=error)
    return Action(
        server=op.server,
        action=action,
        request_id=op.request_id,
        user=op.user,
        project=op.project,
        started=op.started,
        updated=now,
        message="Error" if error else None,
        events=(event,),
        story=(*op.story, Line(now, f"failed: {error}" if error else f"done on {instance.host}")),
    )
