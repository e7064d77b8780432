"""The contract of the operation engine with its store: what it reads, what it sets aside, when it fences."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from aetcd import rpc
from attrs import define, field
from substrate import eventually

from control.conductor.engine import Engine
from kv.keys import Cell
from kv.shards import Shards
from kv.store import Store
from kv.twin.client import Twin
from kv.twin.cluster import Cluster
from kv.twin.faults import Faults, Late
from kv.txn import Txn
from schemas.errors import CompareFailed
from schemas.messages import Wake
from schemas.operation import Operation
from schemas.shards import SHARDS, shard_of

NOW = datetime(2030, 1, 1, tzinfo=UTC)


class Nobody:
    """A bus on which nothing is said."""

    async def serve(self, *_: Any, **__: Any) -> object:
        return object()

    async def withdraw(self, _: object) -> None:
        pass


@define(eq=False)
class Conductor:
    store: Store
    looked: list[str] = field(factory=list)
    engine: Engine = field(init=False)
    shards: Shards = field(init=False)
    tasks: list[asyncio.Task[None]] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        async def gained(shard: int) -> None:
            await self.engine.gained(shard)

        async def lost(shard: int) -> None:
            await self.engine.lost(shard)

        self.shards = Shards(self.store, "pod", 60, gained, lost, Cell)
        self.engine = Engine(
            self.store,
            self.shards,
            Cell.OPERATIONS,
            Nobody(),
            str,
            self.look,
            0.05,  # type: ignore[arg-type]
        )

    async def look(self, _: int, hint: Wake) -> bool:
        self.looked.append(hint.server)
        return False

    def start(self) -> None:
        self.tasks = [asyncio.create_task(self.shards.run()), asyncio.create_task(self.engine.run())]

    async def owns_all(self) -> None:
        await eventually(lambda: len(self.shards.fences) == SHARDS, 30)

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.fixture
async def conductor(store: Store) -> AsyncIterator[Conductor]:
    made = Conductor(store)
    yield made
    await made.stop()


def operation(server: str) -> Operation:
    return Operation(server, "build", "spawn", NOW, NOW, project="p", created_us=7)


async def add(store: Store, server: str) -> None:
    await store.commit(Txn("add").put(Cell.OPERATIONS(shard_of(server), server), operation(server)))


async def test_an_operation_that_cannot_be_read_harms_no_other(store: Store, conductor: Conductor) -> None:
    """One of a later release took every shard of its store from the conductor that had to own it, and all rescans from
    all conductors: half of a cell's servers had no owner."""
    bad, neighbour = "bad", next(f"n{n}" for n in range(1000) if shard_of(f"n{n}") == shard_of("bad"))
    key = (store.prefix + Cell.OPERATIONS(shard_of(bad), bad).path).encode()
    garbage = rpc.PutRequest(key=key, value=b'{"record":"Operation/9","server":"bad"}')
    await store.etcd.txn(rpc.TxnRequest(success=[rpc.RequestOp(request_put=garbage)]), writes=True)
    await add(store, neighbour)
    conductor.start()
    await conductor.owns_all()
    await eventually(lambda: neighbour in conductor.looked)
    await add(store, "later")
    await eventually(lambda: "later" in conductor.looked)
    assert bad not in conductor.looked
    assert store.aside.revision(Cell.OPERATIONS(shard_of(bad), bad).path)
    await add(store, bad)  # somebody repaired it
    await eventually(lambda: bad in conductor.looked)
    assert len(conductor.shards.fences) == SHARDS


async def test_a_rescan_reads_what_is_new_and_nothing_twice(
    store: Store, conductor: Conductor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each conductor read and decoded every operation of the store every two seconds, to drop those of others."""
    for n in range(30):
        await add(store, f"s{n}")
    conductor.start()
    await conductor.owns_all()
    await eventually(lambda: len(set(conductor.looked)) == 30)  # every shard was scanned
    values = 0
    asked, read = store.etcd.txn, store.etcd.range

    async def txn(request: rpc.TxnRequest, *, writes: bool) -> rpc.TxnResponse:
        nonlocal values
        answer = await asked(request, writes=writes)
        values += sum(bool(kv.value) for r in answer.responses for kv in r.response_range.kvs)
        return answer

    async def range_(request: rpc.RangeRequest) -> rpc.RangeResponse:
        nonlocal values
        answer = await read(request)
        values += sum(bool(kv.value) for kv in answer.kvs)
        return answer

    monkeypatch.setattr(store.etcd, "txn", txn)
    monkeypatch.setattr(store.etcd, "range", range_)
    conductor.looked.clear()
    await add(store, "new")
    await eventually(lambda: conductor.looked.count("new") >= 3)
    assert conductor.looked.count("s0") >= 2, "those that rest are looked at again"
    assert values == 1
    assert len(conductor.engine._known) == 31


async def test_a_write_of_unknown_outcome_is_made_impossible_before_the_next_look() -> None:
    """Looked at again without fencing, an operation was decided on what a late write then changed behind it."""

    class LateWork(Faults):
        seen = 0

        async def before(self, call: str, request: Any) -> None:
            keys = [op.request_put.key for op in getattr(request, "success", ())]
            if call == "txn" and b"c/failed-builds/late" in keys:
                self.seen += 1
                if self.seen == 1:
                    raise Late(1.0)

    store = Store(Twin(Cluster(), LateWork(), timeout=0.3), "c/")
    looks: list[int] = []
    written: list[str] = []

    class Worker(Conductor):
        async def look(self, shard: int, hint: Wake) -> bool:
            looks.append(self.shards.fences[shard].mod_revision)
            if len(looks) == 1:
                txn = Txn("work").put(Cell.FAILED_BUILDS("late"), "late")  # type: ignore[arg-type]
                await self.store.commit(self.shards.guard(txn, shard))
            written.append("decided again")
            return False

    worker = Worker(store)
    worker.start()
    await worker.owns_all()
    await add(store, "s")
    await eventually(lambda: written, 30)
    assert looks[1] > looks[0], "the fence was rewritten between the two looks"
    await asyncio.sleep(1.2)
    assert await store.paths(Cell.FAILED_BUILDS.under()) == [], "the late write found its fence changed"
    await worker.stop()


async def test_an_owner_that_lost_its_shard_commits_nothing(store: Store) -> None:
    """The fence is compared by every write, not only by those that compare something else."""
    owner = Conductor(store)
    owner.start()
    await owner.owns_all()
    txn = owner.shards.guard(Txn("work").put(Cell.FENCES(1), "x"), 1)
    await owner.shards.refence(1)
    with pytest.raises(CompareFailed):
        await store.commit(txn)
    await owner.stop()
