"""The top of a small site on the in-memory etcd: real records, fences and cells, one owner of every shard, no bus.

A test plays the scheduler, the cell's conductor and the other processes by writing what they would write.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, cast

import pytest
from attrs import define, evolve, field
from cryptography.fernet import Fernet
from substrate import eventually
from unit_records import flavor

from bus.client import Bus
from control.cells.liveness import Liveness
from control.cells.registry import Cells
from control.conductor.cell.commit import transaction
from control.conductor.sagas.table import GiveBack
from control.conductor.top.builds import Builds
from control.conductor.top.fences import CellFences
from control.conductor.top.leave import ImageLeave
from control.conductor.top.outboxes import Outboxes
from control.secrets import SiteKey
from control.servers.create import ServerDraft, create_servers
from control.servers.find import instance_key
from control.servers.groups import create_group
from control.top import Top
from kv.keys import Cell, Global
from kv.shards import Shards
from kv.store import Store
from kv.twin.client import Twin
from kv.twin.cluster import Cluster
from kv.twin.faults import Faults
from kv.txn import Stored, Txn
from runtime import ambient
from schemas.context import REQUEST_ID
from schemas.errors import CompareFailed, NobodyListens
from schemas.flavor import Flavor
from schemas.group import ServerGroup
from schemas.host import BusAddress, CellMapping, StoreAddress
from schemas.identity import Identity
from schemas.messages import Wake
from schemas.operation import Operation
from schemas.quota import QuotaLimits
from schemas.server import CELL0, Fault, Instance
from schemas.settings import Settings
from schemas.shards import SHARDS, shard_of

USER: Final = Identity("u1", "u1", "p1", "p1", frozenset({"member"}))
KEY: Final = SiteKey(Fernet.generate_key())
UNLIMITED: Final = ("instances", "cores", "ram", "server_groups", "server_group_members")
TINY: Final = Flavor("1", "tiny", flavor().vcpus, flavor().memory_mb, flavor().root_gb)


class Hints:
    """A bus on which nobody answers."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []

    async def hint(self, subject: str, message: Any) -> None:
        self.sent.append((subject, message))

    async def request(self, subject: str, *_: Any) -> Any:
        raise NobodyListens(f"nobody serves {subject}")

    async def drain(self) -> None:
        pass


class OwnShards:
    """One process that owns all shards and keeps them."""

    guard = Shards.guard

    def __init__(self, store: Store) -> None:
        self.store = store
        self.fences: dict[int, Stored[str]] = {}

    async def take(self, *shards: int) -> None:
        txn = Txn("take shards")
        for shard in shards:
            txn.put(Global.LEASES(shard), "pod")
        revision = await self.store.commit(txn)
        self.fences |= {n: Stored(Global.LEASES(n), "pod", revision, revision) for n in shards}


@define(eq=False)
class Rig:
    top: Top
    shards: OwnShards
    hints: Hints
    news: list[Wake] = field(factory=list)
    builds: Builds = field(init=False)
    outboxes: Outboxes = field(init=False)

    def __attrs_post_init__(self) -> None:
        owned = cast(Shards, self.shards)
        fences, leave = CellFences(owned), ImageLeave(cast(Any, None), 60.0)
        self.builds = Builds(self.top, owned, fences, leave)
        self.outboxes = Outboxes(self.top, owned, fences, leave, self.news.append)

    async def create(self, **more: Any) -> str:
        """One server's uuid."""
        REQUEST_ID.set(f"req-{ambient.new_uuid()}")
        draft = ServerDraft("web", TINY, None, networks="none", **more)
        return (await create_servers(self.top, USER, draft))[1][0].uuid

    async def create_group(self, name: str = "g") -> str:
        group = ServerGroup(ambient.new_uuid(), name, USER.project, USER.user, "anti-affinity", ambient.now())
        await create_group(self.top, group)
        return group.uuid

    async def operation(self, server: str) -> Stored[Operation]:
        found = await self.top.store.get(Global.OPERATIONS(shard_of(server), server))
        assert found is not None
        return found

    async def change_operation(self, server: str, **changes: Any) -> None:
        before = await self.operation(server)
        await self.top.store.commit(Txn("change").replace(before, evolve(before.value, **changes)))

    async def choose(self, server: str, cell: str = "cell1", host: str = "h1") -> None:
        """As the scheduler does, without a claim."""
        await self.change_operation(server, step="place", host=host, results={"cell": cell, "node": host})

    async def refuse(self, server: str) -> None:
        await self.change_operation(server, step="bury", fault=Fault(500, "No valid host was found.", ambient.now()))

    async def step(self, server: str) -> bool:
        """One look of the owner, again when it lost a race."""
        while True:
            with suppress(CompareFailed):
                if await self.outboxes.look(shard_of(server), server):
                    return True
                return await self.builds.look(shard_of(server), server)

    async def instance(self, server: str, cell: str = "cell1") -> Stored[Instance] | None:
        mapping = await self.top.store.get(Global.INSTANCES(server))
        assert mapping is not None
        store = self.top.cells.store(cell)
        found = [s for s in await store.range(Cell.INSTANCES.under()) if s.value.uuid == server]
        return found[0] if found else None

    async def give_back(self, server: str, cell: str = "cell1") -> None:
        """As the cell's conductor does after a failed spawn; returns when the top has heard of it."""
        store = self.top.cells.store(cell)
        instance = await self.instance(server, cell)
        boot = await store.get(Cell.OPERATIONS(shard_of(server), server))
        assert instance is not None
        assert boot is not None
        failed = GiveBack(evolve(boot.value, step="returning"), instance.value, Fault(500, "no luck", ambient.now()))
        await store.commit(transaction(failed, boot, instance, ambient.now()))
        await eventually(lambda: self.outboxes.has_news_of(server))


@asynccontextmanager
async def open_rig(faults: Faults | None = None, timeout: float = 5.0) -> AsyncIterator[Rig]:
    """`faults` and `timeout`, in seconds: of the calls to the global store."""
    cluster, hints = Cluster(), Hints()
    store = Store(Twin(cluster, faults, timeout=timeout), "g/")

    async def connect(*_: Any) -> Bus:
        return cast(Bus, hints)

    cells = Cells(store, KEY, "test", with_bus=True, open_etcd=lambda _: Twin(cluster), connect=connect)
    for name, prefix in ((CELL0, "c0/"), ("cell1", "c1/")):
        bus = None if name == CELL0 else BusAddress("test")
        mapping = CellMapping(name, name, StoreAddress(("test",), prefix), bus)
        await store.commit(Txn("map cell").create(Global.CELLS(name), mapping))
    unlimited = QuotaLimits(dict.fromkeys(UNLIMITED, -1))
    await store.commit(Txn("limits").put(Global.QUOTA_LIMITS(USER.project), unlimited))
    shards = OwnShards(store)
    await shards.take(*range(SHARDS))
    tasks = [asyncio.create_task(cells.run())]
    await cells.mappings.synced.wait()
    rig = Rig(Top(Settings(), store, cast(Bus, hints), cells, KEY, Liveness(store, cells)), shards, hints)
    tasks.append(asyncio.create_task(rig.outboxes.run()))
    try:
        yield rig
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def before_commit(monkeypatch: pytest.MonkeyPatch, purpose: str, what: Callable[[], Awaitable[object]]) -> None:
    """Has `what` done right before the next transaction of this purpose is sent."""
    commit = Store.commit
    left: defaultdict[str, int] = defaultdict(lambda: 1)

    async def hooked(self: Store, txn: Txn) -> int:
        if txn.purpose == purpose and left[purpose]:
            left[purpose] = 0
            await what()
        return await commit(self, txn)

    monkeypatch.setattr(Store, "commit", hooked)


__all__ = ["USER", "Rig", "before_commit", "instance_key", "open_rig"]
