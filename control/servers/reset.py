"""An operator says what state a server is in. Whatever was going on with it is forgotten."""

from attrs import evolve

from control.servers.change import Located, locate, wake_cell
from control.servers.commits import commit_settled, retried
from control.servers.history import RESET_STATE, plain_action, running_action
from control.top import Top
from kv.keys import Cell
from kv.txn import Txn
from runtime import ambient
from schemas.context import REQUEST_ID
from schemas.errors import Conflict
from schemas.identity import Identity
from schemas.server import Fault


async def reset_state(top: Top, identity: Identity, uuid: str, vm_state: str, *, any_project: bool = False) -> None:
    """The server rests in `vm_state` (active or error); its operation is gone and its action ends with an error.

    The generation rises, so that a report of the forgotten work changes nothing. Raises Conflict for a server that has
    no host yet, NotFound.
    """

    async def once() -> Located:
        at = await locate(top, identity, uuid, any_project=any_project)
        if at.instance is None or (at.operation and at.operation.value.step == "returning"):
            raise Conflict(f"Instance {uuid} is not ready")
        now = ambient.now()
        before = at.instance.value
        fault = before.fault or Fault(500, "The state was reset to error.", now)
        after = evolve(
            before,
            vm_state=vm_state,
            task_state=None,
            generation=before.generation + 1,
            updated=now,
            progress=0,
            fault=fault if vm_state == "error" else before.fault,
        )
        txn = Txn("reset state").replace(at.instance, after)
        if at.operation is not None:
            txn.remove(at.operation)
            ended = evolve(running_action(at.operation.value), updated=now, message="Error")
            txn.put(Cell.ACTIONS(uuid, ended.request_id), ended)
        done = plain_action(RESET_STATE, before, identity, REQUEST_ID.get(), now)
        txn.put(Cell.ACTIONS(uuid, done.request_id), done)
        store = top.cells.store(at.cell)

        async def applied() -> bool:
            return await store.get(Cell.ACTIONS(uuid, done.request_id)) is not None

        await commit_settled(store, txn, at.instance, applied)
        return at

    at = await retried(once)
    if at.operation is not None:
        await wake_cell(top, at)  # so that who carries it out lets go of it
