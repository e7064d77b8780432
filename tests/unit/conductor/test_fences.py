"""Owners at the top write into a cell under a fence there: one that was paused over its takeover writes nowhere."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from control.conductor.top.fences import CellFences
from kv.keys import Cell, Global
from kv.shards import Shards
from kv.store import Store
from kv.twin.client import Twin
from kv.twin.cluster import Cluster
from kv.twin.faults import Faults, Late, Lost
from kv.txn import Stored, Txn
from schemas.errors import CompareFailed, StoreUnavailable
from schemas.server import UserData

SHARD = 5
KEY = Cell.USER_DATA("server")


class Once(Faults):
    """Loses the connection before or after the next transaction that writes the record."""

    def __init__(self) -> None:
        self.when = ""

    async def before(self, call: str, request: Any) -> None:
        self._lose("before", call, request)

    async def after(self, call: str, answer: Any) -> None:
        if self.when == "after, then" and call == "txn":
            self.when = ""
            raise Lost

    def _lose(self, when: str, call: str, request: Any) -> None:
        if call == "txn" and b"user-data" in request.SerializeToString():
            if self.when == when:
                self.when = ""
                raise Lost
            if self.when == "after":
                self.when = "after, then"


def owner(create_revision: int) -> CellFences:
    """Of the shard, by a lease key made at this revision of the global store."""
    lease = Stored(Global.LEASES(SHARD), "pod", create_revision, create_revision)
    return CellFences(cast(Shards, SimpleNamespace(fences={SHARD: lease})))


def written(text: str) -> Txn:
    return Txn("write").put(KEY, UserData(text))


async def test_a_predecessor_that_wakes_changes_nothing() -> None:
    store = Store(Twin(Cluster()), "c/")
    old, new = owner(10), owner(20)
    await old.commit(store, SHARD, written("old"))
    await new.commit(store, SHARD, written("new"))
    for _ in range(2):
        with pytest.raises(CompareFailed):
            await old.commit(store, SHARD, written("late"))
    found = await store.get(KEY)
    assert found is not None
    assert found.value.data == "new"
    fence = await store.get(Cell.FENCES(SHARD))
    assert fence is not None
    assert int(fence.value) == 20


async def test_who_does_not_own_the_shard_writes_nothing() -> None:
    store = Store(Twin(Cluster()), "c/")
    nobody = CellFences(cast(Shards, SimpleNamespace(fences={})))
    with pytest.raises(CompareFailed):
        await nobody.commit(store, SHARD, written("x"))
    assert await store.paths(Cell.FENCES.under()) == []


async def test_the_fence_is_raised_once_and_only_compared_then() -> None:
    store = Store(Twin(Cluster()), "c/")
    mine = owner(10)
    first = await mine.commit(store, SHARD, written("a"))
    assert await mine.commit(store, SHARD, written("b")) == first + 1


@pytest.mark.parametrize(("when", "there"), [("before", False), ("after", True)])
async def test_a_write_of_unknown_outcome_is_decided_before_it_is_told(when: str, there: bool) -> None:
    """The fence is written anew: what was not applied by then never will be, and reading tells which."""
    cluster, once = Cluster(), Once()
    store, mine = Store(Twin(cluster, once), "c/"), owner(10)
    await mine.commit(store, SHARD, Txn("look into cell"))
    before = await store.get(Cell.FENCES(SHARD))
    once.when = when
    with pytest.raises(CompareFailed, match="outcome unknown"):
        await mine.commit(store, SHARD, written("x"))
    after = await store.get(Cell.FENCES(SHARD))
    assert before is not None
    assert after is not None
    assert after.mod_revision > before.mod_revision
    assert (await store.get(KEY) is not None) == there
    await mine.commit(store, SHARD, written("y"))


class LateOnce(Faults):
    """The first write of the record is applied a moment after its caller has given up; nothing answers until then."""

    def __init__(self) -> None:
        self.step = "wait"

    async def before(self, call: str, request: Any) -> None:
        if self.step == "late" and call == "txn" and b"user-data" in request.SerializeToString():
            self.step = "away"
            raise Late(0.1)
        if self.step == "away":
            raise Lost


async def test_cells_on_two_clusters_with_one_prefix_have_fences_of_their_own() -> None:
    """A write into one cell made that of unknown outcome in the other one forgotten: a look under the fence found
    nothing there, another host was claimed, and then the first write was applied."""
    late = LateOnce()
    here, there = Store(Twin(Cluster()), "c/"), Store(Twin(Cluster(), late, timeout=0.05), "c/")
    mine = owner(10)
    for store in (here, there):
        await mine.commit(store, SHARD, Txn("look into cell"))
    late.step = "late"
    with pytest.raises((CompareFailed, StoreUnavailable)):
        await mine.commit(there, SHARD, written("x"))
    late.step = "well again"
    await mine.commit(here, SHARD, written("y"))
    await mine.commit(there, SHARD, Txn("look into cell"))
    assert await there.get(KEY) is None
    await asyncio.sleep(0.2)
    assert await there.get(KEY) is None


async def test_a_cell_whose_mapping_was_changed_and_changed_back_has_its_fence_written_anew() -> None:
    """What became of the last write through the store that was closed is not known."""
    cluster, mine = Cluster(), owner(10)
    await mine.commit(Store(Twin(cluster), "c/"), SHARD, written("x"))
    again = Store(Twin(cluster), "c/")
    before = await again.get(Cell.FENCES(SHARD))
    await mine.commit(again, SHARD, Txn("look into cell"))
    after = await again.get(Cell.FENCES(SHARD))
    assert before is not None
    assert after is not None
    assert after.mod_revision > before.mod_revision
