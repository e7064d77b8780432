"""boot: spawn the guest on its host; on failure remove what is there and give the server back to the top. It is given
back when the host has removed what it had, or has been silent for so long that it runs nothing of it any more.

step     undo
spawn    destroy
"""

from datetime import datetime

from control.conductor.sagas.table import Decision, Failed, Saga, Step, Succeeded, settle
from schemas.operation import Operation
from schemas.server import Instance


def _done(operation: Operation, instance: Instance, outcome: Succeeded, now: datetime) -> Decision:
    return settle(operation, instance, outcome.state, "active", now, launched=instance.launched or now, progress=0)


def _failed(operation: Operation, instance: Instance, outcome: Failed, now: datetime) -> Decision:
    raise AssertionError("a failed spawn is always undone")


BOOT = Saga(
    kind="boot",
    step=Step("spawn", "spawn", lambda s: s.spawn_timeout, with_spec=True, granted=True),
    undo=Step("undo", "destroy", lambda s: s.command_timeout, persistent=True, granted=True),
    done=_done,
    failed=_failed,
)
