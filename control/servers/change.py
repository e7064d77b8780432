"""Changes of existing servers: each one transaction in the server's cell that also holds its operation."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from attrs import evolve, frozen

from control.servers.commits import commit_settled, retried
from control.servers.deletion import deletion, removal
from control.servers.find import CELL_SECONDS, key_in_cell, not_found
from control.servers.handover import is_sealed, with_user_fields
from control.servers.history import plain_action
from control.servers.states import check_allowed
from control.top import Top
from kv.keys import Cell, Global
from kv.store import Store
from kv.txn import Stored, Txn
from runtime import ambient
from schemas.context import REQUEST_ID
from schemas.errors import CompareFailed, Locked, StoreUnavailable, Unavailable
from schemas.identity import Identity
from schemas.messages import Wake
from schemas.operation import Line, Operation
from schemas.server import CELL0, BuildRequest, Instance, InstanceMapping, to_us
from schemas.shards import shard_of
from schemas.subjects import cell_wake, top_wake


@frozen
class Located:
    """A server's owner and record: its request at the top, or its Instance and operation in `cell`."""

    mapping: InstanceMapping
    request: Stored[BuildRequest] | None
    building: Stored[Operation] | None
    cell: str
    instance: Stored[Instance] | None
    operation: Stored[Operation] | None


async def change_server(
    top: Top, identity: Identity, uuid: str, action: str, inputs: dict[str, Any], *, any_project: bool = False
) -> None:
    """Begins any action of states.RULES, reboot by its `type`: when it returns, the operation is committed.
    Raises Locked, WrongState."""
    kind = f"reboot-{inputs['type'].lower()}" if action == "reboot" else action

    async def once() -> Located:
        at = await locate(top, identity, uuid, any_project=any_project)
        if at.instance is None:
            assert at.request is not None
            check_allowed(kind, at.request.value.instance, ignore_lock=identity.is_admin)
            raise CompareFailed("it has just left for a cell")
        rule = check_allowed(kind, at.instance.value, ignore_lock=identity.is_admin)
        now = ambient.now()
        before = at.instance.value
        after = evolve(before, task_state=rule.task, generation=before.generation + 1, updated=now)
        operation = Operation(
            server=uuid,
            kind=kind,
            step="command",
            started=now,
            deadline=now + timedelta(seconds=top.settings.conductor.command_timeout),
            request_id=REQUEST_ID.get(),
            user=identity.user,
            project=before.project,
            created_us=before.created_us,
            attempt=before.attempt,
            generation=after.generation,
            host=before.host,
            inputs=inputs,
            story=(Line(now, f"{rule.word} accepted"),),
        )
        txn = Txn("accept action").replace(at.instance, after)
        _put_operation(txn, at.operation, operation)
        await _commit(top.cells.store(at.cell), txn, at, operation)
        return at

    at = await retried(once)
    await wake_cell(top, at)


async def delete_server(top: Top, identity: Identity, uuid: str, *, any_project: bool = False) -> None:
    """Begins a delete, whatever else is going on; a second one changes nothing. Raises Locked, NotFound."""

    async def once() -> Located:
        at = await locate(top, identity, uuid, any_project=any_project)
        server = at.instance.value if at.instance else at.request.value.instance if at.request else None
        assert server is not None
        if server.locked and not identity.is_admin:
            raise Locked(f"Instance {uuid} is locked")
        if at.instance is None:
            await _cancel_build(top, at)
        elif at.cell == CELL0:
            await _delete_from_cell0(top, at, at.instance)
        else:
            await delete_in_cell(top, at, identity.user)
        return at

    at = await retried(once)
    if at.instance is None:
        await top.bus.hint(top_wake(shard_of(uuid)), Wake(uuid))
    elif at.cell != CELL0:
        await wake_cell(top, at)


async def delete_in_cell(top: Top, at: Located, user: str) -> None:
    """Turns whatever operation the server has into a delete that inherits its results."""
    assert at.instance is not None
    now = ambient.now()
    if at.operation and at.operation.value.kind == "delete":
        return
    replaced = at.operation.value if at.operation else None
    txn = Txn("accept delete")
    if at.operation and at.operation.value.step == "returning":
        returning, store = at.operation, top.cells.store(at.cell)
        txn.replace(returning, evolve(returning.value, cancel=True))

        async def cancelled() -> bool:
            current = await store.get(returning.key)
            return current is not None and current.value.cancel

        await commit_settled(store, txn, returning, cancelled)
        return
    after, operation = deletion(at.instance.value, replaced, user, REQUEST_ID.get(), now)
    txn.replace(at.instance, after)
    _put_operation(txn, at.operation, operation)
    await _commit(top.cells.store(at.cell), txn, at, operation)


async def update_server(
    top: Top,
    identity: Identity,
    uuid: str,
    change: Callable[[Instance], Instance],
    *,
    action: str | None = None,
    any_project: bool = False,
) -> Instance:
    """Applies `change` to the user's fields of a server, in a cell or still at the top. `change` may raise. A change
    with a name, `action`, is remembered in the history of a server that has a cell.

    Raises NotFound, and Unavailable while the server moves between two stores for longer than a second.
    """

    async def once() -> Instance:
        at = await locate(top, identity, uuid, any_project=any_project)
        now = ambient.now()
        if at.instance is not None:
            if is_sealed(at.operation):
                raise CompareFailed("it is on its way back to the top")
            after = evolve(with_user_fields(at.instance.value, change(at.instance.value)), updated=now)
            txn = Txn("update server").replace(at.instance, after)
            if action is not None:
                done = plain_action(action, after, identity, REQUEST_ID.get(), now)
                txn.put(Cell.ACTIONS(uuid, done.request_id), done)
            stored = at.instance

            async def in_cell() -> bool:
                current = await top.cells.store(at.cell).get(stored.key)
                return current is not None and current.value.updated == now

            await commit_settled(top.cells.store(at.cell), txn, stored, in_cell)
            return after
        assert at.request is not None
        request = at.request
        before = request.value.instance
        draft = evolve(with_user_fields(before, change(before)), updated=now)

        async def at_top() -> bool:
            current = await top.store.get(request.key)
            return current is not None and current.value.instance.updated == now

        txn = Txn("update request").replace(request, evolve(request.value, instance=draft))
        await commit_settled(top.store, txn, request, at_top)
        return draft

    try:
        return await retried(once)
    except CompareFailed as error:
        raise Unavailable(f"Instance {uuid} is moving between two stores right now; try again") from error


async def locate(top: Top, identity: Identity, uuid: str, *, any_project: bool = False) -> Located:
    """Reads what a guarded change compares. Raises NotFound, Unavailable when the cell does not answer."""
    mapping, request, building = await top.store.read(
        Global.INSTANCES(uuid), Global.REQUESTS(uuid), Global.OPERATIONS(shard_of(uuid), uuid)
    )
    if mapping is None or not (any_project or mapping.value.project == identity.project):
        raise not_found(uuid)
    if request is not None:
        return Located(mapping.value, request, building, "", None, None)
    cell = mapping.value.cell
    if cell is None:
        raise CompareFailed("it moved between two reads")
    try:
        async with asyncio.timeout(CELL_SECONDS):
            instance, operation = await top.cells.store(cell).read(
                key_in_cell(mapping.value), Cell.OPERATIONS(shard_of(uuid), uuid)
            )
    except (StoreUnavailable, TimeoutError) as error:
        raise Unavailable(f"The cell of instance {uuid} does not answer; try again later") from error
    if instance is None:
        again = await top.store.get(Global.INSTANCES(uuid))
        if again is None or again.mod_revision == mapping.mod_revision:
            raise not_found(uuid)  # deleted in its cell, the top only has to learn of it
        raise CompareFailed("it moved between two reads")
    return Located(mapping.value, None, None, cell, instance, operation)


async def _cancel_build(top: Top, at: Located) -> None:
    """While its request exists a delete only marks the operation; the super conductor does the rest."""
    if at.building is None:
        raise Unavailable(f"Instance {at.mapping.uuid} has a request but no operation")
    if at.building.value.cancel:
        return
    assert at.request is not None
    deleting = evolve(at.request.value.instance, task_state="deleting", updated=ambient.now())
    txn = Txn("cancel build").replace(at.building, evolve(at.building.value, cancel=True))
    txn.replace(at.request, evolve(at.request.value, instance=deleting))
    building = at.building

    async def applied() -> bool:
        # An operation that is gone may have been handed over without having seen the cancel: then the server is
        # still there, and the delete has to be made in its cell.
        current, mapping = await top.store.read(building.key, Global.INSTANCES(at.mapping.uuid))
        return current.value.cancel if current else mapping is None

    await commit_settled(top.store, txn, building, applied)


async def _delete_from_cell0(top: Top, at: Located, instance: Stored[Instance]) -> None:
    """cell0 has no conductor: its servers are removed at once, and the top is told as a conductor would."""
    store = top.cells.store(CELL0)
    txn = Txn("delete from cell0").remove(instance)
    removal(txn, instance.value, None, ambient.now())

    async def applied() -> bool:
        return await store.get(instance.key) is None

    await commit_settled(store, txn, instance, applied)


def _put_operation(txn: Txn, old: Stored[Operation] | None, new: Operation) -> None:
    if old is not None:
        txn.replace(old, new)
    else:
        txn.create(Cell.OPERATIONS(shard_of(new.server), new.server), new)


async def _commit(store: Store, txn: Txn, at: Located, operation: Operation) -> None:
    assert at.instance is not None
    key = Cell.OPERATIONS(shard_of(operation.server), operation.server)
    action = Cell.ACTIONS(operation.server, operation.request_id)

    async def applied() -> bool:
        current, finished = await store.read(key, action)
        return finished is not None or (current is not None and current.value.request_id == operation.request_id)

    await commit_settled(store, txn, at.instance, applied)


async def wake_cell(top: Top, at: Located) -> None:
    bus = top.cells.access(at.cell).bus
    if bus is not None:
        mapping = at.mapping
        hint = Wake(mapping.uuid, to_us(mapping.created), mapping.project)
        await bus.hint(cell_wake(at.cell, shard_of(mapping.uuid)), hint)
