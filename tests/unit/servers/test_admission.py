"""The door of a project: who gave up waiting is not let in behind his own back."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from unit_records import instance

from control.servers.admission import Admission, Applicants
from control.servers.quota import LimitRecords, limit_keys
from control.top import Top
from kv.keys import Global
from kv.store import Store
from kv.twin.client import Twin
from kv.twin.cluster import Cluster
from kv.twin.faults import Faults
from kv.txn import Txn
from schemas.server import Charge, Instance, InstanceMapping


class Gate(Faults):
    def __init__(self) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()

    async def before(self, call: str, request: Any) -> None:
        if call == "txn":
            self.reached.set()
            await self.open.wait()


def write(txn: Txn, servers: list[Instance]) -> None:
    for server in servers:
        mapping = InstanceMapping(server.uuid, server.project, server.user, server.created)
        txn.create(Global.INSTANCES(server.uuid), mapping)


def one(uuid: str) -> Applicants:
    nothing_set = LimitRecords(limit_keys("p1", "u1"), (None, None, None))
    return Applicants([instance(uuid=uuid)], Charge(1, 1, 512), nothing_set, 1, write)


async def test_who_gave_up_before_his_turn_is_not_accepted() -> None:
    """An API that could not reach etcd for a while said 503 and went on: the client asked again and had two servers."""
    cluster, gate = Cluster(), Gate()
    store = Store(Twin(cluster, gate), "g/")
    door = Admission(cast(Top, SimpleNamespace(store=store)), "p1")
    first = asyncio.create_task(door.admit(one("first")))
    await gate.reached.wait()
    second, third = (asyncio.create_task(door.admit(one(name))) for name in ("second", "third"))
    await asyncio.sleep(0)
    second.cancel()
    gate.open.set()
    assert await first == 1
    assert await third == 1
    paths = await store.paths(Global.INSTANCES.under())
    assert paths == ["instances/first", "instances/third"]
    usage = await store.get(Global.QUOTA_USAGE("p1"))
    assert usage is not None
    assert usage.value.instances == 2
