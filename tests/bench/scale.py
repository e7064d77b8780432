"""`just bench-scale`: what a super conductor and an API do with the records of a million servers, and its memory.

By default the records lie in the in-memory etcd, with `--etcd` in a real one. Measured are the list and the second list
of placement's view (as after a compaction), a round of the claims' upkeep over some of the windows of ids, and a rescan
of operations. Each is printed with its seconds, the largest answer that etcd gave, and the longest hold of the loop.
"""

import argparse
import asyncio
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast
from uuid import UUID

import uvloop
from cryptography.fernet import Fernet

from control.cells.registry import Cells
from control.conductor.top.upkeep import Upkeep
from control.placement.upkeep.records import Records
from control.placement.upkeep.windows import WINDOWS, shard_of_window
from control.placement.view import View
from control.placement.writer import Writer
from control.secrets import SiteKey
from control.servers.draft import mac_of
from control.servers.expansion import uuid_at
from control.servers.find import instance_key
from kv.backend import Backend
from kv.client import Etcd
from kv.keys import Global
from kv.maintenance import Maintenance
from kv.store import Store
from kv.twin.client import Twin
from kv.twin.cluster import Cluster
from kv.txn import Txn
from runtime import ambient
from schemas.host import CellMapping, HostMapping, StoreAddress
from schemas.operation import Operation
from schemas.placement import Allocation, Inventory, Provider, Usages
from schemas.server import FlavorCopy, Instance, InstanceMapping
from schemas.settings import StoreSettings
from schemas.shards import SHARDS, shard_of
from tests.bench.subject import own_site

NOW: Final = datetime(2030, 1, 1, tzinfo=UTC)
FLAVOR: Final = FlavorCopy("1", "tiny", 1, 64, 1)
PER_HOST: Final = 20
CELL: Final = "cell1"
IN_FLIGHT: Final = 10_000
"""operations during the rescan"""
TICK_SECONDS: Final = 0.005


class Measured:
    """A store's backend that notes the largest answer."""

    def __init__(self, etcd: Backend) -> None:
        self.largest = 0
        self._etcd = etcd

    def __getattr__(self, name: str) -> Any:
        return getattr(self._etcd, name)

    async def range(self, request: Any) -> Any:
        answer = await self._etcd.range(request)
        self.largest = max(self.largest, answer.ByteSize())
        return answer

    async def txn(self, request: Any, *, writes: bool) -> Any:
        answer = await self._etcd.txn(request, writes=writes)
        self.largest = max(self.largest, answer.ByteSize())
        return answer


def main() -> None:
    parser = argparse.ArgumentParser(prog="just bench-scale", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--servers", type=int, help="with a claim each (1000000; with --etcd 200000)")
    parser.add_argument("--windows", type=int, default=16, help=f"of {WINDOWS}, that the upkeep looks at (16)")
    parser.add_argument("--etcd", action="store_true", help="in a real etcd, on a site of its own")
    options = parser.parse_args(sys.argv[1:])
    count = options.servers or (200_000 if options.etcd else 1_000_000)
    if not options.etcd:
        uvloop.run(_in_memory(count, options.windows))
        return
    with (
        tempfile.TemporaryDirectory(prefix="kilonova-bench-") as parent,
        own_site(Path(parent) / "site", 1, keep=False) as subject,
    ):
        uvloop.run(_in_etcd(subject.settings.top.store, count, options.windows))


async def _in_memory(count: int, windows: int) -> None:
    cluster = Cluster()

    async def compact() -> None:
        cluster.compact(cluster.revision)

    await measure(lambda: Twin(cluster, timeout=120.0), compact, count, windows)


async def _in_etcd(settings: StoreSettings, count: int, windows: int) -> None:
    await measure(lambda: Etcd(settings), Maintenance(settings).compact, count, windows)


async def measure(
    connect: Callable[[], Backend], compact: Callable[[], Awaitable[Any]], count: int, windows: int
) -> None:
    etcd = Measured(connect())
    store = Store(cast(Backend, etcd), "scale/g/")
    key = SiteKey(Fernet.generate_key())
    cells = Cells(store, key, "bench", with_bus=False, open_etcd=lambda _: cast(Backend, etcd))
    mapping = CellMapping(CELL, CELL, StoreAddress(("bench",), "scale/c1/"), None)
    await store.commit(Txn("map").put(Global.CELLS(CELL), mapping))
    following = asyncio.create_task(cells.run())
    await cells.mappings.synced.wait()
    try:
        began = time.monotonic()
        await _write(store, cells.store(CELL), count)
        print(f"{count} servers written in {time.monotonic() - began:.0f} s", flush=True)
        view = View(store)
        async with _measured("placement's view, first list", etcd):
            task = asyncio.create_task(view.run())
            await view.synced.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await store.commit(Txn("touch").put(Global.COUNTERS("bench"), 1))  # type: ignore[arg-type]  # any record
        await compact()
        view.synced.clear()
        view.revision = 1  # what it was complete up to is compacted: it has to list again
        async with _measured("placement's view, second list", etcd):
            task = asyncio.create_task(view.run())
            await view.synced.wait()
        task.cancel()
        owned = {shard_of_window(window) for window in range(min(windows, SHARDS))}
        looked = min(WINDOWS, len(owned) * WINDOWS // SHARDS)
        upkeep = Upkeep(Records(store, cells, Writer(store)), owned, lambda txn, _: txn, lambda: [], 300.0)
        async with _measured(f"upkeep of claims, {looked} of {WINDOWS} windows", etcd):
            assert await upkeep.look() == 0
            assert not upkeep._wrong
        await _write_operations(store)
        async with _measured(f"rescan of {IN_FLIGHT} operations", etcd):
            found = 0
            async for page in store.pages(Global.OPERATIONS.under()):
                found += len(page)
            assert found == IN_FLIGHT
    finally:
        following.cancel()  # the records go with their etcd


@asynccontextmanager
async def _measured(what: str, etcd: Measured) -> AsyncIterator[None]:
    etcd.largest = 0
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(TICK_SECONDS)
            longest = max(longest, loop.time() - before - TICK_SECONDS)

    ticking = asyncio.create_task(tick())
    wall, cpu = time.monotonic(), time.process_time()
    yield
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    ticking.cancel()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{what:44s} {wall:7.1f} s, CPU {cpu:6.1f} s, largest answer {etcd.largest / 2**20:6.2f} MiB, "
        f"longest hold of the loop {longest * 1000:5.0f} ms, peak RSS {peak:5.0f} MiB",
        flush=True,
    )


async def _write(top: Store, cell: Store, count: int) -> None:
    hosts = -(-count // PER_HOST)
    needs = {"VCPU": FLAVOR.vcpus, "MEMORY_MB": FLAVOR.memory_mb, "DISK_GB": FLAVOR.root_gb}
    offers = {name: Inventory(amount * PER_HOST) for name, amount in needs.items()}
    taken = {name: amount * PER_HOST for name, amount in needs.items()}
    turns = asyncio.Semaphore(16)

    async def commit(store: Store, txn: Txn) -> None:
        async with turns:
            await store.commit(txn)

    def provider(host: int) -> str:
        return str(UUID(int=host))

    async def write_hosts(numbers: range) -> None:
        txn = Txn("hosts")
        for n in numbers:
            uuid, name = provider(n), f"h{n}"
            txn.put(Global.HOSTS(name), HostMapping(name, CELL, uuid))
            txn.put(Global.PROVIDERS(uuid), Provider(uuid, name, offers, host=name, cell=CELL))
            txn.put(Global.USAGES(uuid), Usages(taken))
        await commit(top, txn)

    async def write_servers(numbers: range) -> None:
        above, below = Txn("servers"), Txn("servers")
        for n in numbers:
            uuid, host = uuid_at("scale", n), n // PER_HOST
            server = Instance(
                uuid=uuid,
                project="p1",
                user="u1",
                name="s",
                hostname="s",
                created=NOW,
                updated=NOW,
                flavor=FLAVOR,
                image=None,
                vm_state="active",
                host=f"h{host}",
                node=f"h{host}",
                macs=(mac_of(uuid),),
            )
            above.put(Global.INSTANCES(uuid), InstanceMapping(uuid, "p1", "u1", NOW, CELL))
            above.put(Global.ALLOCATIONS(uuid), Allocation(uuid, "p1", "u1", {provider(host): needs}, NOW))
            below.put(instance_key(server), server)
        await asyncio.gather(commit(top, above), commit(cell, below))

    for n in range(0, hosts, 40):
        await write_hosts(range(n, min(hosts, n + 40)))
    for n in range(0, count, 60 * 64):
        parts = range(n, min(count, n + 60 * 64), 60)
        await asyncio.gather(*(write_servers(range(p, min(count, p + 60))) for p in parts))


async def _write_operations(store: Store) -> None:
    for n in range(0, IN_FLIGHT, 100):
        txn = Txn("operations")
        for _ in range(n, n + 100):
            uuid = ambient.new_uuid()
            txn.put(Global.OPERATIONS(shard_of(uuid), uuid), Operation(uuid, "build", "schedule", NOW, NOW))
        await store.commit(txn)


if __name__ == "__main__":
    main()
