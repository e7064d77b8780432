"""What the cells tell the top: a server was deleted, a build failed, a build needs its image's grant renewed. Each is
applied once, then removed."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import structlog
from attrs import define, evolve

from control.cells.registry import CellAccess
from control.conductor.cell.leave import WANTED, renewed
from control.conductor.top.fences import CellFences
from control.conductor.top.leave import ImageLeave
from control.conductor.top.obituaries import Obituaries, add_release
from control.secrets import resealed
from control.servers.handover import is_sealed, sealing
from control.top import Top
from kv.cache import Cache, Change
from kv.keys import Cell, Global
from kv.shards import Shards
from kv.txn import Stored, Txn
from runtime import ambient
from runtime.tasks import restarting
from schemas.messages import Wake
from schemas.operation import Line, Operation, Outbox
from schemas.server import BuildRequest, InstanceMapping, ServerIndex, UserData, time_key
from schemas.shards import shard_of
from schemas.subjects import cell_wake

log = structlog.get_logger()


@define(eq=False)
class _Watched:
    cache: Cache[Outbox]
    task: asyncio.Task[None]


class Outboxes:
    """`on_news(server)` is called for each new record; `look` applies what there is of a server."""

    def __init__(
        self, top: Top, shards: Shards, fences: CellFences, leave: ImageLeave, on_news: Callable[[Wake], None]
    ) -> None:
        self._shards = shards
        self._fences = fences
        self._obituaries = Obituaries(top, shards)
        self._top = top
        self._image_leave = leave
        self._on_news = on_news
        self._cells: dict[str, _Watched] = {}
        self._pending: dict[str, tuple[str, Stored[Outbox]]] = {}
        """server -> (cell, record), of every shard, as long as the record is there: its shard's owner applies it"""

    async def run(self) -> None:
        self._top.cells.on_join.append(self._join)
        self._top.cells.on_leave.append(self._leave)
        for name in list(self._top.cells.mappings.items):
            self._join(self._top.cells.access(name.rsplit("/", 1)[1]))
        try:
            await asyncio.Event().wait()
        finally:
            for name in list(self._cells):
                self._leave(name)

    def wake_shard(self, shard: int) -> None:
        for server in self._pending:
            if shard_of(server) == shard:
                self._on_news(Wake(server))

    def has_news_of(self, server: str) -> bool:
        return server in self._pending

    async def look(self, shard: int, server: str) -> bool:
        """Applies the server's record; False when there is none."""
        pending = self._pending.get(server)
        if pending is None:
            return False
        cell, record = pending
        mapping = await self._top.store.get(Global.INSTANCES(server))
        if mapping and mapping.value.cell is None and mapping.value.attempt == record.value.attempt:
            if await self._top.store.get(Global.OPERATIONS(shard, server)) is not None:
                return False  # given back before it was handed over: that comes first
            log.error("a build was given back that nobody hands over", cell=cell)
        if record.value.kind == WANTED:
            await self._renew(shard, cell, record)
            if self._pending.get(server) == pending:
                del self._pending[server]
            return True
        if mapping and mapping.value.cell == cell and mapping.value.attempt == record.value.attempt:
            if record.value.kind == "deleted":
                await self._obituaries.forget(mapping)
                log.info("server forgotten")
            else:
                await self._take_back(shard, cell, record.value, mapping)
        if record.value.kind == "deleted" or not await self._still_to_clear(shard, record.value):
            await self._fences.commit(self._top.cells.store(cell), shard, Txn("outbox done").delete(record.key))
        if self._pending.get(server) == pending:
            del self._pending[server]
        return True

    async def _renew(self, shard: int, cell: str, record: Stored[Outbox]) -> None:
        """A new leave to fetch the image, if the boot still waits for one."""
        told, now = record.value, ambient.now()
        store = self._top.cells.store(cell)
        key = Cell.INSTANCES(told.project, time_key(told.created_us, told.server))
        instance, boot = await store.read(key, Cell.OPERATIONS(shard, told.server))
        txn = Txn("renew image grant").remove(record)
        waits = boot is not None and boot.value.attempt == told.attempt and boot.value.inputs.get("leave_wanted")
        if instance is not None and boot is not None and waits:
            until = now + timedelta(seconds=self._top.settings.conductor.spawn_timeout)
            inputs = self._image_leave.inputs(instance.value.image, cell, now)
            txn.replace(boot, renewed(boot.value, inputs, until, now))
        await self._fences.commit(store, shard, txn)
        bus = self._top.cells.access(cell).bus
        if bus is not None:
            await bus.hint(cell_wake(cell, shard), Wake(told.server, told.created_us, told.project))

    async def _still_to_clear(self, shard: int, record: Outbox) -> bool:
        """Whether the build that this record gave back has yet to clear its cell, the record included."""
        operation = await self._top.store.get(Global.OPERATIONS(shard, record.server))
        return operation is not None and operation.value.step == "clear"

    async def _take_back(self, shard: int, cell: str, record: Outbox, mapping: Stored[InstanceMapping]) -> None:
        """A failed build: request and operation are there again, the claim is freed, the charge stays."""
        store = self._top.cells.store(cell)
        key = Cell.INSTANCES(record.project, time_key(record.created_us, record.server))
        instance, data, returning = await store.read(
            key, Cell.USER_DATA(record.server), Cell.OPERATIONS(shard, record.server)
        )
        deleting = await self._top.store.get(Global.OPERATIONS(shard, record.server))
        if instance is None or returning is None:
            log.error("a build was given back without its server", cell=cell)
            return
        if not is_sealed(returning):
            await self._fences.commit(store, shard, sealing(instance, returning))
        txn = Txn("take back").replace(mapping, evolve(mapping.value, cell=None, attempt=record.attempt + 1))
        draft = evolve(
            instance.value,
            vm_state="building",
            task_state="scheduling",
            host=None,
            node=None,
            addresses=(),
            fault=None,
            topology=None,
            admin_password=resealed(instance.value.admin_password, self._top.key.of_cell(cell), self._top.key),
        )
        txn.create(Global.REQUESTS(record.server), BuildRequest(draft, _data(data)))
        operation = _again(returning.value, record, cell)
        if deleting is None:
            txn.create(Global.OPERATIONS(shard, record.server), operation)
        else:  # it was cancelled while it was handed over
            txn.replace(deleting, evolve(operation, cancel=True))
        when = time_key(record.created_us, record.server)
        txn.put(Global.PROJECT_SERVERS(record.project, when), ServerIndex(record.project))
        await add_release(self._top, txn, [mapping.value], refund=False)
        await self._top.store.commit(self._shards.guard(txn, shard))
        log.info("build taken back", host=record.host, attempt=record.attempt)

    def _join(self, cell: CellAccess) -> None:
        name = cell.mapping.name
        if name in self._cells:
            return

        def changed(change: Change[Outbox]) -> None:
            if change.new is not None:
                server = change.new.value.server
                self._pending[server] = (name, change.new)
                self._on_news(Wake(server))
            elif change.old is not None:  # applied, by whichever super conductor
                server = change.old.value.server
                known = self._pending.get(server)
                if known and known[0] == name and known[1].key == change.old.key:
                    del self._pending[server]

        cache = Cache(cell.store, Cell.OUTBOX.under(), changed)
        self._cells[name] = _Watched(cache, asyncio.create_task(restarting(cache.run, f"outbox of {name}")))

    def _leave(self, name: str) -> None:
        watched = self._cells.pop(name, None)
        if watched:
            watched.task.cancel()
        self._pending = {s: p for s, p in self._pending.items() if p[0] != name}


def _data(data: Stored[UserData] | None) -> str | None:
    return data.value.data if data else None


def _again(returning: Operation, record: Outbox, cell: str) -> Operation:
    """The build operation of the next attempt: first its cell is cleared, then another host is sought."""
    tried = [*returning.results.get("tried", ()), record.host]
    alternates = [h for h in returning.results.get("alternates", ()) if h != record.host]
    message = record.fault.message if record.fault else "the build failed"
    line = Line(record.at, f"attempt {record.attempt} on {record.host} given back: {message}")
    return evolve(
        returning,
        kind="build",
        step="clear",
        attempt=record.attempt + 1,
        generation=record.generation + 1,
        tries=0,
        host=None,
        inputs={},
        results={"cell": cell, "tried": tried, "alternates": alternates},
        fault=record.fault,
        story=(*returning.story, line),
    )
