"""What the cells say to the top is kept as long as it is there, whichever super conductor applies it."""

import asyncio

from attrs import evolve
from substrate import eventually
from top_rig import Rig, open_rig
from unit_records import NOW

from control.conductor.cell.leave import WANTED
from control.conductor.top.obituaries import Obituaries
from kv.keys import Cell, Global
from kv.txn import Stored, Txn
from schemas.operation import Outbox
from schemas.placement import Allocation, Usages
from schemas.server import InstanceMapping
from schemas.shards import shard_of


def record(server: str, kind: str, attempt: int = 1) -> Outbox:
    return Outbox(server, kind, "p1", 1, attempt, 1, "h1", NOW)


async def test_a_record_that_another_owner_applied_is_forgotten() -> None:
    """Each super conductor kept every record of the other ones' shards: a million deletions were a gigabyte, and a
    takeover committed once into the cell for each."""
    async with open_rig() as rig:
        store = rig.top.cells.store("cell1")
        servers = [f"s{n}" for n in range(50)]
        for server in servers:
            await store.commit(Txn("said").create(Cell.OUTBOX(server, 1), record(server, "deleted")))
        await eventually(lambda: all(rig.outboxes.has_news_of(s) for s in servers))
        for server in servers:
            await store.commit(Txn("outbox done").delete(Cell.OUTBOX(server, 1)))
        await eventually(lambda: not rig.outboxes._pending)
        rig.news.clear()
        for shard in range(64):
            rig.outboxes.wake_shard(shard)
        assert rig.news == []


async def test_an_older_record_that_goes_takes_no_newer_one_with_it() -> None:
    async with open_rig() as rig:
        store = rig.top.cells.store("cell1")
        for attempt in (1, 2):
            await store.commit(Txn("said").create(Cell.OUTBOX("s", attempt), record("s", "build-failed", attempt)))
        await eventually(lambda: rig.outboxes.has_news_of("s") and rig.outboxes._pending["s"][1].value.attempt == 2)
        await store.commit(Txn("outbox done").delete(Cell.OUTBOX("s", 1)))
        await store.commit(Txn("said").create(Cell.OUTBOX("t", 1), record("t", "deleted")))
        await eventually(lambda: rig.outboxes.has_news_of("t"))
        assert rig.outboxes.has_news_of("s")


async def test_a_wish_for_a_grant_that_is_gone_is_not_asked_for_again_and_again() -> None:
    """Its renewal compared the record, which was gone: it lost, and was tried every second for ever."""
    async with open_rig() as rig:
        store = rig.top.cells.store("cell1")
        await store.commit(Txn("said").create(Cell.OUTBOX("s", 1), record("s", WANTED)))
        await eventually(lambda: rig.outboxes.has_news_of("s"))
        await store.commit(Txn("outbox done").delete(Cell.OUTBOX("s", 1)))
        await eventually(lambda: not rig.outboxes.has_news_of("s"))
        assert not await rig.outboxes.look(shard_of("s"), "s")


async def deleted_servers(rig: Rig, count: int, providers: int) -> list[Stored[InstanceMapping]]:
    """Their mappings; each has a group of its own and claims on so many providers of its own."""
    found = []
    for n in range(count):
        server = await rig.create(group=await rig.create_group(f"g{n}"))
        resources = {f"rp-{n}-{i}": {"VCPU": 1} for i in range(providers)}
        txn = Txn("given claim").create(Global.ALLOCATIONS(server), Allocation(server, "p1", "u1", resources, NOW))
        for provider in resources:
            txn.create(Global.USAGES(provider), Usages({"VCPU": 1}))
        await rig.top.store.commit(txn)
        stored = await rig.top.store.get(Global.INSTANCES(server))
        assert stored is not None
        found.append(stored)
    return found


async def test_servers_that_end_together_are_forgotten_however_much_each_held() -> None:
    """Sixteen servers of one project, each in a group and on some providers of its own, were more writes than etcd
    takes: the batch failed, was asked for again and met again, so that these deletes never finished."""
    async with open_rig() as rig:
        mappings = await deleted_servers(rig, 16, 4)
        obituaries = Obituaries(rig.top, rig.shards)  # type: ignore[arg-type]  # shards as this rig has them
        await asyncio.wait_for(asyncio.gather(*(obituaries.forget(m) for m in mappings)), 10)
        assert await rig.top.store.count(Global.INSTANCES.under()) == 0
        assert await rig.top.store.count(Global.ALLOCATIONS.under()) == 0
        usage = await rig.top.store.get(Global.QUOTA_USAGE("p1"))
        assert usage is not None
        assert usage.value.instances == 0
        assert obituaries._waiting == {}


async def test_one_that_has_changed_does_not_keep_the_others() -> None:
    async with open_rig() as rig:
        mappings = await deleted_servers(rig, 3, 1)
        await rig.top.store.commit(Txn("touch").replace(mappings[1], evolve(mappings[1].value, attempt=2)))
        obituaries = Obituaries(rig.top, rig.shards)  # type: ignore[arg-type]  # shards as this rig has them
        found = await asyncio.gather(*(obituaries.forget(m) for m in mappings), return_exceptions=True)
        assert [type(one).__name__ for one in found] == ["NoneType", "CompareFailed", "NoneType"]


async def test_a_queue_whose_task_was_ended_is_served_by_another_one() -> None:
    """It stayed behind, and every later delete of that project waited for ever."""
    async with open_rig() as rig:
        first, second = await deleted_servers(rig, 2, 1)
        obituaries = Obituaries(rig.top, rig.shards)  # type: ignore[arg-type]  # shards as this rig has them
        asked = asyncio.create_task(obituaries.forget(first))
        await eventually(lambda: obituaries._tasks)
        next(iter(obituaries._tasks)).cancel()
        assert [type(e).__name__ for e in await asyncio.gather(asked, return_exceptions=True)] == ["CompareFailed"]
        await asyncio.wait_for(obituaries.forget(second), 10)
        assert obituaries._waiting == {}
