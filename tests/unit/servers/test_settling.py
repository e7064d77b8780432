"""A write of unknown outcome is made impossible before it is decided that it was not done."""

import asyncio
from typing import Any

import pytest
from top_rig import open_rig

from kv.keys import Global
from kv.twin.faults import Faults, Late


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
