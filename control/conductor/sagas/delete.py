"""delete: remove the guest from its host, then the records. Never unwinds: on a dead host it completes.

step      undo
destroy   none
"""

from datetime import datetime

from control.conductor.sagas.table import Decision, Failed, Remove, Saga, Step, Succeeded
from schemas.operation import Operation
from schemas.server import Instance


def _done(operation: Operation, instance: Instance, outcome: Succeeded, now: datetime) -> Decision:
    return Remove()


def _failed(operation: Operation, instance: Instance, outcome: Failed, now: datetime) -> Decision:
    return Remove()  # it was asked for long enough: its inventory will show the guest, and it is told to remove it


DELETE = Saga(
    kind="delete",
    step=Step("destroy", "destroy", lambda s: s.command_timeout, skip_dead_host=True, persistent=True),
    done=_done,
    failed=_failed,
)
