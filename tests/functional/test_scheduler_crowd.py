"""Several scheduler processes at once on one real etcd, with less room than is asked for: exactly as many servers find
a host as fit, no host is overdrawn, no group's policy is broken, and nobody is refused while there is room."""

import asyncio
import json
import os
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from substrate import map_site
from unit_records import facts

from control.placement.resources import needed_by
from control.top import Top, open_top
from kv.keys import Cell, Global
from kv.txn import Txn
from schemas.group import ServerGroup
from schemas.host import Alive, Host, HostMapping
from schemas.operation import Operation
from schemas.placement import Inventory, Provider, Usages
from schemas.server import FlavorCopy, RequestSpec
from schemas.settings import BusSettings, Settings, StoreSettings
from schemas.shards import shard_of

HERE = Path(__file__).parents[1]
FLAVOR = FlavorCopy("1", "one", vcpus=1, memory_mb=1024, root_gb=1)
NOW = datetime(2030, 1, 1, tzinfo=UTC)


async def add_hosts(top: Top, rooms: list[int]) -> None:
    """Host n has room for `rooms[n]` servers, limited by one resource or another."""
    cell = top.cells.store("cell1")
    for n, room in enumerate(rooms):
        name, uuid = f"h{n}", str(uuid4())
        amounts = {"VCPU": 1000, "MEMORY_MB": 1024 * 1000, "DISK_GB": 1000}
        tight = list(amounts)[n % 3]
        amounts[tight] = room * needed_by(FLAVOR)[tight]
        inventories = {c: Inventory(total, max_unit=total or 1) for c, total in amounts.items()}
        txn = Txn("map").create(Global.HOSTS(name), HostMapping(name, "cell1", uuid))
        txn.create(Global.PROVIDERS(uuid), Provider(uuid, name, inventories, host=name, cell="cell1"))
        await top.store.commit(txn.create(Global.USAGES(uuid), Usages()))
        known = Txn("host").put(Cell.HOSTS(name), Host(name, uuid, facts(hypervisor_hostname=name), NOW))
        await cell.commit(known.put(Cell.ALIVE(name), Alive("s", NOW)))


async def add_servers(top: Top, count: int, group: str | None = None) -> list[str]:
    uuids = [str(uuid4()) for _ in range(count)]

    async def add(uuid: str) -> None:
        operation = Operation(uuid, "build", "schedule", NOW, NOW + timedelta(hours=1), project="p", created_us=1)
        spec = RequestSpec(uuid, "p", "u", FLAVOR, None, group=group)
        key = Global.OPERATIONS(shard_of(uuid), uuid)
        await top.store.commit(Txn("server").create(key, operation).create(Global.SPECS(uuid), spec))

    for n in range(0, count, 200):
        await asyncio.gather(*(add(u) for u in uuids[n : n + 200]))
    return uuids


async def crowd(settings: Settings, directory: Path, shares: list[list[str]]) -> list[dict[str, float]]:
    """One process for each share of the servers; all begin together."""
    config = directory / "control.toml"
    store, bus = settings.top.store, settings.top.bus
    config.write_text(
        f'[top]\nsite_key_file = "{settings.top.site_key_file}"\n'
        f'[top.store]\nendpoints = ["{store.endpoints[0]}"]\nprefix = "{store.prefix}"\n'
        f'[top.bus]\nurl = "{bus.url}"\n'
    )
    environment = {**os.environ, "PYTHONPATH": f"{HERE.parent}:{HERE}"}
    processes = []
    for n, share in enumerate(shares):
        servers = directory / f"servers-{n}.json"
        servers.write_text(json.dumps(share))
        processes.append(
            await asyncio.create_subprocess_exec(
                *(sys.executable, str(HERE / "crowd.py"), str(config), str(servers)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=environment,
            )
        )
    try:
        for process in processes:
            assert process.stdout
            assert await asyncio.wait_for(process.stdout.readline(), 60) == b"ready\n"
        answers = await asyncio.gather(*(p.communicate(b"go\n") for p in processes))
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
    return [json.loads(out) for out, _ in answers]


async def check_books(top: Top, rooms: list[int]) -> int:
    """Allocations, usages and operations agree and fit. How many hold a claim."""
    allocations = [s.value for s in await top.store.range(Global.ALLOCATIONS.under())]
    mappings = {s.value.host: s.value.uuid for s in await top.store.range(Global.HOSTS.under())}
    on_host = Counter(provider for a in allocations for provider in a.resources)
    asked = needed_by(FLAVOR)
    for n, room in enumerate(rooms):
        uuid = mappings[f"h{n}"]
        usages = await top.store.get(Global.USAGES(uuid))
        assert usages
        assert usages.value.used == {c: a * on_host[uuid] for c, a in asked.items() if on_host[uuid]}
        assert on_host[uuid] <= room
    placed = {s.value.server for s in await top.store.range(Global.OPERATIONS.under()) if s.value.step == "place"}
    assert placed == {a.consumer for a in allocations}
    return len(allocations)


@pytest.mark.parametrize(
    ("schedulers", "each", "hosts"),
    [(4, 200, 12), pytest.param(8, 2000, 100, marks=pytest.mark.storm)],
)
async def test_exactly_as_many_find_a_host_as_fit(
    store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path, schedulers: int, each: int, hosts: int
) -> None:
    settings = await map_site(store_settings, bus_settings, tmp_path)
    total = schedulers * each
    fit = total * 9 // 10
    rooms = [fit // hosts] * hosts
    rooms[0] += fit - sum(rooms) - 7
    rooms[1] += 7
    async with open_top(settings, "test", cell_buses=False) as top:
        await add_hosts(top, rooms)
        servers = await add_servers(top, total)
        found = await crowd(settings, tmp_path, [servers[n::schedulers] for n in range(schedulers)])
        assert sum(f["claimed"] for f in found) == fit, found
        assert sum(f["refused"] for f in found) == total - fit, found
        assert await check_books(top, rooms) == fit
        print(f"{total / max(f['seconds'] for f in found):.0f} decisions/s", found)


async def test_no_group_is_broken_by_a_crowd(
    store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path
) -> None:
    settings = await map_site(store_settings, bus_settings, tmp_path)
    rooms = [50] * 6
    async with open_top(settings, "test", cell_buses=False) as top:
        await add_hosts(top, rooms)
        close = ServerGroup("close", "g", "p", "u", "affinity", NOW)
        apart = ServerGroup("apart", "g", "p", "u", "anti-affinity", NOW, max_server_per_host=2)
        await top.store.commit(
            Txn("groups").create(Global.GROUPS("close"), close).create(Global.GROUPS("apart"), apart)
        )
        near, far = await add_servers(top, 20, "close"), await add_servers(top, 20, "apart")
        mixed = [s for pair in zip(near, far, strict=True) for s in pair]
        found = await crowd(settings, tmp_path, [mixed[n::4] for n in range(4)])
        assert sum(f["claimed"] for f in found) == 20 + 12, found
        await check_books(top, rooms)
        groups = {s.value.uuid: s.value.members for s in await top.store.range(Global.GROUPS.under())}
        assert len(set(groups["close"].values())) == 1
        assert set(groups["close"]) == set(near)
        assert Counter(groups["apart"].values()) == {(f"h{n}",): 2 for n in range(6)}
