"""Records around servers that something took away or left behind are mended after two rounds, and nothing else is."""

from collections.abc import AsyncIterator
from typing import cast

import pytest
from attrs import evolve
from top_rig import TINY, USER, Rig, open_rig
from unit_records import NOW

from control.conductor.top.fences import CellFences
from control.conductor.top.reconciler import Reconciler
from control.servers.create import create_servers
from control.servers.draft import ServerDraft
from control.servers.reconcile import line_keys
from kv.keys import Cell, Global
from kv.shards import Shards
from kv.txn import Txn
from schemas.context import REQUEST_ID
from schemas.host import HostMapping
from schemas.quota import QuotaUsage, Used
from schemas.server import HostedServer, InstanceMapping, RequestSpec, ServerIndex
from schemas.shards import SHARDS

GONE = "3f7c2f6e-9f0a-4a40-9c4c-0d6a3f3b7a11"


def reconciler(rig: Rig, owned: range = range(SHARDS)) -> Reconciler:
    return Reconciler(rig.top, owned, rig.shards.guard, CellFences(cast(Shards, rig.shards)))


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with open_rig() as rig:
        await rig.top.store.commit(Txn("map").create(Global.HOSTS("h1"), HostMapping("h1", "cell1", "rp1")))
        yield rig


async def settled(rig: Rig, **more: str) -> InstanceMapping:
    """A server that rests in its cell."""
    server = await rig.create(**more)
    await rig.choose(server)
    await rig.step(server)
    mapping = await rig.top.store.get(Global.INSTANCES(server))
    assert mapping is not None
    return mapping.value


async def contents(rig: Rig) -> dict[str, object]:
    """All records around servers, of both stores."""
    families = (
        Global.INSTANCES,
        Global.PROJECT_SERVERS,
        Global.ALL_SERVERS,
        Global.SPECS,
        Global.QUOTA_USAGE,
        Global.GROUPS,
        Global.OPERATIONS,
    )
    found: dict[str, object] = {}
    for family in families:
        found |= {s.key.path: s.value for s in await rig.top.store.range(family.under())}  # type: ignore[attr-defined]  # of several classes
    cell = rig.top.cells.store("cell1")
    return found | {f"cell1/{s.key.path}": s.value for s in await cell.range(Cell.BY_HOST.under())}


async def test_what_is_right_stays_as_it_is(rig: Rig) -> None:
    """Also a large request of which most is still to be written, whose servers are members and charged already."""
    await settled(rig, group=await rig.create_group())
    await rig.create()
    REQUEST_ID.set("req-1")
    draft = ServerDraft("many", TINY, None, 50, 50, networks="none", group=await rig.create_group("large"))
    await create_servers(rig.top, USER, draft)
    before = await contents(rig)
    looked = reconciler(rig)
    assert [await looked.look() for _ in range(3)] == [0, 0, 0]
    assert await contents(rig) == before


async def test_lines_and_indexes_that_are_missing_are_written(rig: Rig) -> None:
    first, second = await settled(rig), await settled(rig)
    before = await contents(rig)
    of_project, of_all = line_keys(first)
    txn = Txn("lose").delete(of_project).delete(of_all)
    await rig.top.store.commit(txn.put(line_keys(second)[0], ServerIndex(second.project, "cell9")))
    await rig.top.cells.store("cell1").commit(Txn("lose").delete(Cell.BY_HOST("h1", first.uuid)))
    looked = reconciler(rig)
    assert await looked.look() == 0
    assert await looked.look() == 4
    assert await contents(rig) == before


async def test_what_belongs_to_no_server_is_removed(rig: Rig) -> None:
    await settled(rig, group=(group := await rig.create_group()))
    before = await contents(rig)
    stored = await rig.top.store.get(Global.GROUPS(group))
    assert stored is not None
    ghost = InstanceMapping(GONE, "p1", "u1", NOW)
    of_project, of_all = line_keys(ghost)
    txn = Txn("leave").put(of_project, ServerIndex("p1")).put(of_all, ServerIndex("p1"))
    txn.put(Global.SPECS(GONE), RequestSpec(GONE, "p1", "u1", TINY.copy_for_server(), None))
    members = {**stored.value.members, GONE: ()}
    await rig.top.store.commit(txn.replace(stored, evolve(stored.value, members=members)))
    line = HostedServer("p1", 5)
    await rig.top.cells.store("cell1").commit(Txn("leave").put(Cell.BY_HOST("h1", GONE), line))
    looked = reconciler(rig)
    assert await looked.look() == 0
    assert await looked.look() == 5
    assert await contents(rig) == before


async def test_a_charge_is_what_the_servers_and_groups_count(rig: Rig) -> None:
    await settled(rig)
    await rig.create_group()
    key = Global.QUOTA_USAGE("p1")
    right = await rig.top.store.get(key)
    assert right is not None
    await rig.top.store.commit(Txn("spoil").put(key, QuotaUsage(9, 9, 9, users={"u9": Used(9, 9, 9)})))
    looked = reconciler(rig)
    assert [await looked.look() for _ in range(3)] == [0, 1, 0]
    mended = await rig.top.store.get(key)
    assert mended is not None
    assert mended.value == right.value


async def test_what_changed_between_two_rounds_is_judged_anew(rig: Rig) -> None:
    server = await settled(rig)
    of_project, _ = line_keys(server)
    await rig.top.store.commit(Txn("spoil").put(of_project, ServerIndex(server.project, "cell8")))
    looked = reconciler(rig)
    assert await looked.look() == 0
    await rig.top.store.commit(Txn("spoil").put(of_project, ServerIndex(server.project, "cell9")))
    assert [await looked.look() for _ in range(2)] == [0, 1]


async def test_a_record_of_another_owner_s_shard_is_left_to_it(rig: Rig) -> None:
    server = await settled(rig)
    of_project, _ = line_keys(server)
    await rig.top.store.commit(Txn("lose").delete(of_project))
    nobody = reconciler(rig, range(0))
    assert [await nobody.look() for _ in range(3)] == [0, 0, 0]
