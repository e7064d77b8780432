"""What happened to a server: finished actions from its cell, and the operation that is still running."""

from datetime import datetime
from typing import Final

from control.servers.find import Found
from control.top import Top
from kv.keys import Cell, Global
from schemas.errors import NotFound
from schemas.identity import Identity
from schemas.operation import Action, ActionEvent, Line, Operation
from schemas.server import Instance
from schemas.shards import shard_of

ACTIONS = {
    "build": ("create", "conductor_schedule_and_build_instances"),
    "boot": ("create", "compute__do_build_and_run_instance"),
    "delete": ("delete", "compute_terminate_instance"),
    "start": ("start", "compute_start_instance"),
    "stop": ("stop", "compute_stop_instance"),
    "reboot-soft": ("reboot", "compute_reboot_instance"),
    "reboot-hard": ("reboot", "compute_reboot_instance"),
    "pause": ("pause", "compute_pause_instance"),
    "unpause": ("unpause", "compute_unpause_instance"),
    "suspend": ("suspend", "compute_suspend_instance"),
    "resume": ("resume", "compute_resume_instance"),
}
"""An operation's kind -> the action and the event that Nova's clients know. A `build` has no host yet."""

LOCK: Final = "lock"
UNLOCK: Final = "unlock"
RESET_STATE: Final = "resetState"


def plain_action(
    action: str, server: Instance, identity: Identity, request_id: str, now: datetime, text: str = "done"
) -> Action:
    """The entry of what needed no host: it began and ended at once, without an event."""
    return Action(
        server=server.uuid,
        action=action,
        request_id=request_id,
        user=identity.user,
        project=identity.project,
        started=now,
        updated=now,
        story=(Line(now, text),),
    )


async def list_actions(top: Top, found: Found) -> list[Action]:
    """Newest first."""
    uuid = found.instance.uuid
    shard = shard_of(uuid)
    if found.cell is None:
        running = await top.store.get(Global.OPERATIONS(shard, uuid))
        return [running_action(running.value)] if running else []
    store = top.cells.store(found.cell)
    finished = [s.value for s in await store.range(Cell.ACTIONS.under(uuid))]
    operation = await store.get(Cell.OPERATIONS(shard, uuid))
    known = {a.request_id for a in finished}
    if operation and operation.value.request_id not in known:
        finished.append(running_action(operation.value))
    return sorted(finished, key=lambda a: a.started, reverse=True)


async def get_action(top: Top, found: Found, request_id: str) -> Action:
    for action in await list_actions(top, found):
        if action.request_id == request_id:
            return action
    raise NotFound(f"Action for request_id {request_id} on instance {found.instance.uuid} not found")


def running_action(operation: Operation) -> Action:
    """The entry that a running operation will leave, as far as it has come."""
    action, event = ACTIONS[operation.kind]
    return Action(
        server=operation.server,
        action=action,
        request_id=operation.request_id,
        user=operation.user,
        project=operation.project,
        started=operation.started,
        updated=operation.story[-1].at if operation.story else operation.started,
        events=(ActionEvent(event, operation.started, host=operation.host),),
        story=operation.story,
    )
