"""A boot whose leave to fetch its image ran out while it waited asks the top for another, through the outbox. Pure.

The operation says that it was asked for (`leave_wanted`); the top takes that back with the new leave, at once.
"""

from datetime import datetime, timedelta
from typing import Final

from attrs import evolve

from kv.keys import Cell
from kv.txn import Stored, Txn
from schemas.operation import Line, Operation, Outbox
from schemas.server import Instance

WANTED: Final = "image-grant-wanted"
MARGIN: Final = timedelta(seconds=10)
"""An agent that has just been told begins to fetch within this time."""


def has_run_out(operation: Operation, now: datetime) -> bool:
    expires = operation.inputs.get("image_expires")
    return expires is not None and expires <= (now + MARGIN).timestamp()


def is_awaited(operation: Operation, now: datetime) -> bool:
    """Asked for, and still to come."""
    return bool(operation.inputs.get("leave_wanted")) and now < operation.deadline


def asking(operation: Stored[Operation], instance: Instance, until: datetime, now: datetime) -> Txn:
    """The caller adds its fence."""
    op = operation.value
    record = Outbox(
        server=op.server,
        kind=WANTED,
        project=op.project,
        created_us=op.created_us,
        attempt=op.attempt,
        generation=instance.generation,
        host=op.host,
        at=now,
    )
    line = Line(now, "leave to fetch the image has run out: asked for another")
    after = evolve(op, deadline=until, inputs={**op.inputs, "leave_wanted": True}, story=(*op.story, line))
    return Txn("want image grant").replace(operation, after).put(Cell.OUTBOX(op.server, op.attempt), record)


def renewed(operation: Operation, inputs: dict[str, object], until: datetime, now: datetime) -> Operation:
    """With the new leave; for the top."""
    kept = {key: value for key, value in operation.inputs.items() if key != "leave_wanted"}
    line = Line(now, "leave to fetch the image renewed")
    return evolve(operation, deadline=until, inputs={**kept, **inputs}, story=(*operation.story, line))
