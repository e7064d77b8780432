"""The end of a server, as values: the operation that begins it and the writes that complete it."""

from datetime import datetime, timedelta
from typing import Final

from attrs import evolve

from kv.keys import Cell
from kv.txn import Txn
from schemas.codec import to_dict
from schemas.operation import Action, ActionEvent, Deleted, Line, Operation, Outbox
from schemas.server import Instance

DELETE_DEADLINE: Final = timedelta(minutes=30)


def deletion(
    instance: Instance, replaced: Operation | None, user: str, request_id: str, now: datetime
) -> tuple[Instance, Operation]:
    """The server and its operation from now on. Hosts named by a replaced operation are inherited."""
    after = evolve(instance, task_state="deleting", generation=instance.generation + 1, updated=now)
    story = (*(replaced.story if replaced else ()), Line(now, "delete accepted"))
    operation = Operation(
        server=instance.uuid,
        kind="delete",
        step="command",
        started=now,
        deadline=now + DELETE_DEADLINE,
        request_id=request_id,
        user=user,
        project=instance.project,
        created_us=instance.created_us,
        attempt=instance.attempt,
        generation=after.generation,
        host=instance.host or (replaced.host if replaced else None),
        results=replaced.results if replaced else {},
        story=story,
    )
    return after, operation


def removal(txn: Txn, instance: Instance, operation: Operation | None, now: datetime) -> None:
    """Adds what removes a server's records from its cell and tells the top; its own key is the caller's."""
    uuid = instance.uuid
    last = evolve(instance, vm_state="deleted", task_state=None, terminated=now, updated=now, fault=instance.fault)
    day = now.date().isoformat()
    txn.put(Cell.DELETED(day, uuid), Deleted(to_dict(last), now)).put(Cell.DELETED_OF(day, instance.project, uuid), "")
    txn.put(
        Cell.OUTBOX(uuid, instance.attempt),
        Outbox(
            server=uuid,
            kind="deleted",
            project=instance.project,
            created_us=instance.created_us,
            attempt=instance.attempt,
            generation=instance.generation,
            host=instance.host,
            at=now,
        ),
    )
    if instance.host:
        txn.delete(Cell.BY_HOST(instance.host, uuid))
    if instance.has_user_data:
        txn.delete(Cell.USER_DATA(uuid))
    if operation:
        event = ActionEvent("compute_terminate_instance", operation.started, now, "Success", instance.host)
        action = Action(
            server=uuid,
            action="delete",
            request_id=operation.request_id,
            user=operation.user,
            project=instance.project,
            started=operation.started,
            updated=now,
            events=(event,),
            story=(*operation.story, Line(now, "gone")),
        )
        txn.put(Cell.ACTIONS(uuid, operation.request_id), action)
