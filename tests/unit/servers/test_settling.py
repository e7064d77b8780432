"""A write of unknown outcome is made impossible before it is decided that it was not done."""

import asyncio
from typing import Any

import pytest
from top_rig import open_rig

from control.servers.commits import commit_settled
from kv.keys import Cell, Global
from kv.store import Store
from kv.twin.client import Twin
from kv.twin.cluster import Cluster
from kv.twin.faults import Faults, Late
from kv.txn import Txn
from schemas.errors import CompareFailed
from schemas.server import UserData


class LateOnce(Faults):
    """The first transaction that writes `key` is applied after its caller has given up and looked."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.late = 0

    async def before(self, call: str, request: Any) -> None:
        if call != "txn" or self.late == 2:
            return
        keys = {operation.request_put.key for operation in request.success}
        if any(self._key in key for key in keys):
            self.late += 1
            if self.late == 1:
                raise Late(0.1)


@pytest.mark.parametrize("make", ["server", "group"])
async def test_the_first_of_a_project_is_not_refused_and_made_all_the_same(make: str) -> None:
    """The project's usage was not there yet, so nothing was rewritten that the late write compares: the client was
    told 409, and the server was built and charged."""
    faults = LateOnce(b"quotas/usage/")
    async with open_rig(faults, timeout=0.05) as rig:
        if make == "server":
            await rig.create()
            family: Any = Global.INSTANCES
        else:
            await rig.create_group()
            family = Global.GROUPS
        await asyncio.sleep(0.3)
        assert await rig.top.store.count(family.under()) == 1
        usage = await rig.top.store.get(Global.QUOTA_USAGE("p1"))
        assert usage is not None
        assert usage.value.instances + usage.value.server_groups == 1


async def test_a_write_that_was_refused_does_not_apply_late() -> None:
    """The record that it rewrites was there and unchanged when the caller looked: told that nothing was done, it had
    the write done a moment later. The record is rewritten first, so that the late write finds another revision."""
    cluster, key = Cluster(), Cell.USER_DATA("late")
    await Store(Twin(cluster), "c/").commit(Txn("given").create(key, UserData("before")))
    store = Store(Twin(cluster, LateOnce(b"user-data/"), timeout=0.05), "c/")
    pivot = await store.get(key)
    assert pivot is not None

    async def applied() -> bool:
        found = await store.get(key)
        return found is not None and found.value.data == "after"

    with pytest.raises(CompareFailed):
        await commit_settled(store, Txn("change").replace(pivot, UserData("after")), pivot, applied)
    await asyncio.sleep(0.3)
    assert not await applied()
