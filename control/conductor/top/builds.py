"""Builds at the top: schedule -> place -> handed over; a refused one goes to cell0, a cancelled one goes away.

step       what is next
clear      remove what a failed attempt left in its cell, then schedule
schedule   ask the scheduler, which claims and sets step `place`
place      write the server into its cell, then hand it over
bury       no host: write the server into cell0, then hand it over
deleting   handed over although it was cancelled meanwhile: delete it in its cell
"""

from datetime import timedelta
from typing import Final

import structlog
from attrs import evolve

from control.conductor.cell.commit import finished_action
from control.conductor.top.fences import CellFences
from control.conductor.top.leave import ImageLeave
from control.conductor.top.obituaries import add_release
from control.conductor.top.placing import handing_over, placing
from control.conductor.top.precache import Precache
from control.conductor.top.selecting import Selecting
from control.secrets import resealed
from control.servers.deletion import deletion
from control.servers.expansion import KIND as MULTI_CREATE
from control.servers.expansion import expansion
from control.servers.find import instance_key
from control.servers.handover import with_user_fields
from control.servers.precache import KIND as CACHE_IMAGES
from control.top import Top
from kv.keys import Cell, Global
from kv.shards import Shards
from kv.store import Store
from kv.txn import Stored, Txn
from runtime import ambient
from schemas.context import REQUEST_ID
from schemas.errors import (
    CellDown,
    CompareFailed,
    NobodyListens,
    NotFound,
    StoreUnavailable,
    UnwritableRecord,
)
from schemas.messages import SelectItem, Wake
from schemas.operation import Line, Operation
from schemas.server import (
    CELL0,
    BuildRequest,
    Fault,
    Instance,
    InstanceMapping,
    RequestSpec,
    time_key,
)
from schemas.shards import shard_of
from schemas.subjects import cell_wake, top_wake

log = structlog.get_logger()

NO_VALID_HOST: Final = "No valid host was found. There are not enough hosts available."
RETRIES_EXCEEDED: Final = (
    "Exceeded maximum number of retries. Exhausted all hosts available for retrying build failures for instance {uuid}."
)


class Builds:
    def __init__(self, top: Top, shards: Shards, fences: CellFences, leave: ImageLeave) -> None:
        self._shards = shards
        self._fences = fences
        self._top = top
        self._leave = leave
        self._selecting = Selecting(top.bus)
        self._precache = Precache(top, shards, leave)
        self._unsent: dict[str, tuple[int, int]] = {}
        """server -> (mod-revision of the operation as the scheduler answered it here, create-revision of the lease):
        nothing was sent to the claimed host's cell, by anyone"""

    async def look(self, shard: int, server: str) -> bool:
        """Brings a build one step on; False when there is none."""
        key = Global.OPERATIONS(shard, server)
        operation, request, spec, mapping = await self._top.store.read(
            key, Global.REQUESTS(server), Global.SPECS(server), Global.INSTANCES(server)
        )
        if operation is None:
            return False
        REQUEST_ID.set(operation.value.request_id)
        if operation.value.kind == MULTI_CREATE:
            return await self._expand(shard, operation)
        if operation.value.kind == CACHE_IMAGES:
            return await self._precache.step(shard, operation)
        if request is None:
            if operation.value.step == "deleting":
                await self._delete_in_cell(shard, operation)
                return True
            log.error("operation without its request is dropped", kind=operation.value.kind)
            await self._commit(shard, Txn("drop operation").remove(operation))
            return False
        assert spec is not None
        assert mapping is not None
        step = operation.value.step
        if step == "clear":
            await self._clear(shard, operation)
            return True
        if step == "bury":
            await self._bury(shard, operation, request)
            return True
        if step == "place":
            # A claim that another process asked for is its to place: this one was the owner when it was made.
            held, lease = self._shards.fences.get(shard), await self._top.store.get(Global.LEASES(shard))
            if held is None or lease is None or lease.create_revision != held.create_revision:
                raise CompareFailed(f"shard {shard} is not ours")
        if step == "schedule":
            if operation.value.cancel:
                await self._remove(shard, operation, request)
                return True
            try:
                claimed = await self._schedule(shard, operation, spec.value)
            except UnwritableRecord as error:  # it would fail in the same way for ever
                await self._refused(shard, operation, "The request cannot be carried out.", error.message)
                return True
            if claimed is None:
                return True
            operation = claimed
        return await self._place(shard, operation, request, mapping)

    def forget(self, shard: int) -> None:
        """The shard is lost: its next owner may send what this one did not."""
        self._unsent = {server: known for server, known in self._unsent.items() if shard_of(server) != shard}

    async def _expand(self, shard: int, parent: Stored[Operation]) -> bool:
        """Writes the next servers of a large request; True while there are more."""
        txn, servers = expansion(parent)
        await self._commit(shard, txn)
        for server in servers:
            hint = Wake(server.uuid, server.created_us, server.project)
            await self._top.bus.hint(top_wake(shard_of(server.uuid)), hint)
        return True

    async def _schedule(self, shard: int, operation: Stored[Operation], spec: RequestSpec) -> Stored[Operation] | None:
        """The operation as claimed, or None when it has to be looked at again."""
        op = operation.value
        if op.attempt > self._top.settings.scheduler.max_attempts:
            await self._refused(shard, operation, RETRIES_EXCEEDED.format(uuid=op.server))
            return None
        try:
            selection = await self._selecting.host_for(SelectItem(op, operation.mod_revision, spec))
        except NobodyListens:
            if ambient.now() > op.deadline:
                await self._refused(shard, operation, "No scheduler answered in time.")
                return None
            raise
        if selection.operation is not None:
            lease = self._shards.fences.get(shard)
            if lease is not None:
                self._unsent[op.server] = selection.revision, lease.create_revision
            return evolve(operation, value=selection.operation, mod_revision=selection.revision)
        reason = selection.refusal or "no host"
        if op.fault is not None and op.attempt > 1:
            reason = f"{reason}; the last attempt failed: {op.fault.message}"
        if selection.again and ambient.now() <= op.deadline:
            raise StoreUnavailable(f"asked again until {op.deadline:%H:%M:%S}: {reason}")
        await self._refused(shard, operation, NO_VALID_HOST, reason)
        return None

    async def _place(
        self,
        shard: int,
        operation: Stored[Operation],
        request: Stored[BuildRequest],
        mapping: Stored[InstanceMapping],
    ) -> bool:
        """Writes the server into its cell (again is fine) and hands it over; True when it is to be deleted there."""
        op = operation.value
        cell = op.results["cell"]
        unsent = self._is_unsent(shard, operation)
        if unsent and op.cancel:
            self._unsent.pop(op.server, None)
            await self._remove(shard, operation, request)
            return False
        try:
            access = self._top.cells.access(cell)
            if access.breaker.open:
                raise CellDown(f"the etcd of cell {cell} does not answer")
            store = access.store
            await self._fences.hold(store, shard)
        except (StoreUnavailable, NotFound) as error:
            if unsent:
                await self._give_back(shard, operation, mapping, error.message)
            elif op.cancel and isinstance(error, NotFound):  # the cell was removed: it will not tell
                await self._remove(shard, operation, request)
            else:
                await self._show_error(shard, operation, request, f"Cell {cell} does not answer: {error.message}")
                raise
            return not (op.cancel and isinstance(error, NotFound))
        draft = request.value.instance
        key = instance_key(draft)
        self._unsent.pop(op.server, None)
        try:
            if op.cancel and await self._fenced_get(store, shard, draft) is None:
                await self._remove(shard, operation, request)
                return False
            await self._fences.commit(store, shard, self._placing(op, request.value, cell))
        except CompareFailed:
            there = await store.get(key)
            if there is None or there.value.attempt != op.attempt:
                raise
            await self._copy_update(store, shard, there, draft)
        txn = handing_over(operation, request, mapping, cell)
        if op.cancel:
            txn.put(operation.key, evolve(op, step="deleting"))
        await self._commit(shard, txn)
        bus = self._top.cells.access(cell).bus
        if bus is not None and not op.cancel:
            await bus.hint(cell_wake(cell, shard), Wake(op.server, op.created_us, op.project))
        return op.cancel

    async def _show_error(
        self, shard: int, operation: Stored[Operation], request: Stored[BuildRequest], message: str
    ) -> None:
        """From its deadline on the build is shown as ERROR. Claim and charge stay, since what was sent may have been
        done: what the cell says when it answers again is true."""
        draft, now = request.value.instance, ambient.now()
        if now <= operation.value.deadline or draft.vm_state == "error":
            return
        shown = evolve(draft, vm_state="error", task_state=None, fault=Fault(500, message, now, ""), updated=now)
        txn = Txn("show error").replace(request, evolve(request.value, instance=shown)).unchanged(operation)
        await self._commit(shard, txn)

    def _is_unsent(self, shard: int, operation: Stored[Operation]) -> bool:
        lease = self._shards.fences.get(shard)
        known = self._unsent.get(operation.value.server)
        return lease is not None and known == (operation.mod_revision, lease.create_revision)

    async def _give_back(
        self, shard: int, operation: Stored[Operation], mapping: Stored[InstanceMapping], reason: str
    ) -> None:
        """The claimed host's cell does not answer and nothing was sent to it: the claim is released, and the build
        goes elsewhere. It counts as no attempt."""
        op = operation.value
        line = Line(ambient.now(), f"given back before it was sent to cell {op.results['cell']}: {reason}")
        results = {k: v for k, v in op.results.items() if k in ("tried", "alternates")}
        again = evolve(op, step="schedule", host=None, results=results, story=(*op.story, line))
        txn = Txn("give back claim").replace(operation, again).unchanged(mapping)
        await add_release(self._top, txn, [mapping.value], refund=False)
        await self._commit(shard, txn)
        self._unsent.pop(op.server, None)
        log.info("claim given back", cell=op.results["cell"], reason=reason)

    async def _copy_update(self, store: Store, shard: int, there: Stored[Instance], draft: Instance) -> None:
        """The server was written from an older draft: what the user changed since goes with it. Nobody but us changes
        these fields in the cell before the server is handed over."""
        after = with_user_fields(there.value, draft)
        if after is not there.value:
            await self._fences.commit(store, shard, Txn("copy update").replace(there, after))

    async def _fenced_get(self, store: Store, shard: int, draft: Instance) -> Stored[Instance] | None:
        """Whether the server is in the cell, after every earlier write of ours was made impossible or is done."""
        await self._fences.commit(store, shard, Txn("look into cell"))
        return await store.get(instance_key(draft))

    def _placing(self, op: Operation, request: BuildRequest, cell: str) -> Txn:
        now, key = ambient.now(), self._top.key
        password = resealed(request.instance.admin_password, key, key.of_cell(cell))
        draft = evolve(request, instance=evolve(request.instance, admin_password=password))
        inputs = self._leave.inputs(request.instance.image, cell, now)
        deadline = now + timedelta(seconds=self._top.settings.conductor.spawn_timeout)
        return placing(op, draft, cell, inputs, deadline, now)

    async def _refused(self, shard: int, operation: Stored[Operation], message: str, details: str = "") -> None:
        """From now on the build only goes to cell0. Recorded first: were cell0 written straight away, whoever takes
        over between that and the hand-over could find a host or a delete, and leave a second server behind."""
        op = operation.value
        fault = Fault(500, message, ambient.now(), details or (op.fault.message if op.fault else ""))
        await self._commit(shard, Txn("refused").replace(operation, evolve(op, step="bury", fault=fault)))
        log.info("no valid host", reason=details or message)

    async def _bury(self, shard: int, operation: Stored[Operation], request: Stored[BuildRequest]) -> None:
        """The server rests in cell0, ERROR with a fault. It goes on counting against the quota, as in Nova."""
        now = ambient.now()
        op, draft, fault = operation.value, request.value.instance, operation.value.fault
        assert fault is not None
        store = self._top.cells.store(CELL0)
        if op.cancel:
            buried = await self._fenced_get(store, shard, draft)
            if buried is not None:
                txn = Txn("dig up").remove(buried).delete(Cell.ACTIONS(op.server, op.request_id))
                await self._fences.commit(store, shard, txn)
            await self._remove(shard, operation, request)
            return
        dead = evolve(draft, vm_state="error", task_state=None, fault=fault, attempt=op.attempt, updated=now)
        action = finished_action(evolve(op, kind="build"), dead, f"{fault.message} {fault.details}".strip(), now)
        txn = Txn("bury").put(Cell.ACTIONS(op.server, op.request_id), action)
        try:
            txn.create(instance_key(draft), dead)
        except UnwritableRecord:  # hints are the one part of a server that may be anything
            txn.create(instance_key(draft), evolve(dead, scheduler_hints={}))
        try:
            await self._fences.commit(store, shard, txn)
        except CompareFailed:
            there = await store.get(instance_key(draft))
            if there is None:
                raise
            await self._copy_update(store, shard, there, draft)
        mapping = await self._mapping(op.server)
        await self._commit(shard, handing_over(operation, request, mapping, CELL0))

    async def _remove(self, shard: int, operation: Stored[Operation], request: Stored[BuildRequest]) -> None:
        """A cancelled build that never reached a cell: claim, charge and all records go in one transaction."""
        server, op = operation.value.server, operation.value
        mapping = await self._mapping(server)
        when = time_key(op.created_us, server)
        txn = Txn("cancel").remove(operation).remove(request).remove(mapping)
        txn.delete(Global.PROJECT_SERVERS(op.project, when)).delete(Global.ALL_SERVERS(when))
        txn.delete(Global.SPECS(server))
        await add_release(self._top, txn, [mapping.value], refund=True)
        await self._commit(shard, txn)

    async def _delete_in_cell(self, shard: int, operation: Stored[Operation]) -> None:
        """The delete that came while the server was being handed over."""
        op = operation.value
        cell = op.results["cell"]
        store = self._top.cells.store(cell)
        key = Cell.INSTANCES(op.project, time_key(op.created_us, op.server))
        instance, running = await store.read(key, Cell.OPERATIONS(shard, op.server))
        if instance is not None and not (running and running.value.kind == "delete"):
            now = ambient.now()
            txn = Txn("accept delete")
            if running and running.value.step == "returning":
                txn.replace(running, evolve(running.value, cancel=True))
            else:
                after, delete = deletion(
                    instance.value, running.value if running else None, op.user, op.request_id + "-delete", now
                )
                txn.replace(instance, after)
                if running:
                    txn.replace(running, delete)
                else:
                    txn.create(Cell.OPERATIONS(shard, op.server), delete)
            await self._fences.commit(store, shard, txn)
        await self._commit(shard, Txn("cancel done").remove(operation))
        bus = self._top.cells.access(cell).bus
        if bus is not None:
            await bus.hint(cell_wake(cell, shard), Wake(op.server))

    async def _clear(self, shard: int, operation: Stored[Operation]) -> None:
        """Removes what a failed attempt left in its cell; only then another host may be claimed."""
        op = operation.value
        store = self._top.cells.store(op.results["cell"])
        key = Cell.INSTANCES(op.project, time_key(op.created_us, op.server))
        instance, running = await store.read(key, Cell.OPERATIONS(shard, op.server))
        if running and running.value.cancel and not op.cancel:
            # Copied up before its only record goes.
            await self._commit(shard, Txn("copy cancel").replace(operation, evolve(op, cancel=True)))
            return
        outbox = Cell.OUTBOX(op.server, op.attempt - 1)
        if instance is not None and instance.value.attempt < op.attempt:
            txn = Txn("clear cell").remove(instance).delete(outbox)
            if instance.value.host:
                txn.delete(Cell.BY_HOST(instance.value.host, op.server))
            if instance.value.has_user_data:
                txn.delete(Cell.USER_DATA(op.server))
            if running:
                txn.remove(running)
            await self._fences.commit(store, shard, txn)
        results = {k: v for k, v in op.results.items() if k in ("tried", "alternates")}
        again = evolve(op, step="schedule", results=results)
        await self._commit(shard, Txn("cleared").replace(operation, again))

    async def _mapping(self, server: str) -> Stored[InstanceMapping]:
        mapping = await self._top.store.get(Global.INSTANCES(server))
        if mapping is None:
            raise CompareFailed("the server's mapping is gone")
        return mapping

    async def _commit(self, shard: int, txn: Txn) -> int:
        return await self._top.store.commit(self._shards.guard(txn, shard))
