"""`just bench-placement`: Placement's API on one process and a real etcd, how many requests a second and how late.

Providers with 100 traits each in ten aggregates, and servers that hold something of them, are there beforehand. Reads
are asked for the same all the time, as a client's bench would; claims and creations are undone afterwards. Everything
runs on this machine, the load included, whose own CPU is shown as `this bench`.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid4, uuid5

import os_traits
import uvloop
from attrs import define, frozen

from control.placement.forest import SHARING
from control.placement.resources import with_claim
from control.site.etcd import cache_dir, etcd_command, etcd_ready, find_etcd
from control.site.foreground import tied, unwind_on_signals
from control.site.http import answers
from control.site.ports import free_port
from kv.client import Etcd
from kv.keys import Global
from kv.store import Store
from kv.txn import Txn
from schemas.identity import NameIndex
from schemas.placement import Allocation, Inventory, Provider, Usages
from schemas.settings import StoreSettings
from tests.bench.gauges import BENCH, Gauges
from tests.bench.http import Answer, LeanClient
from tests.bench.report import conditions_text, memory_text, quantile
from tests.bench.subject import file_system, prefer_named_etcd

TRAITS: Final = 100
AGGREGATES: Final = 10
REQUIRED: Final = "HW_CPU_X86_AVX2"
"""borne by every second provider"""
PREFIX: Final = "bench/"
BATCH: Final = 40
"""providers, of three keys each, or allocations written at once"""
CLAIM: Final = {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 10}
INVENTORY: Final = {
    "VCPU": Inventory(64, max_unit=64, allocation_ratio=4.0),
    "MEMORY_MB": Inventory(262144, reserved=512, max_unit=262144),
    "DISK_GB": Inventory(4000, max_unit=4000),
}
BIG: Final = {
    "VCPU": {"total": 1_000_000, "max_unit": 64},
    "MEMORY_MB": {"total": 1_000_000_000, "max_unit": 262144},
    "DISK_GB": {"total": 10_000_000, "max_unit": 4000},
}
"""room for every claim on one provider"""
PROJECT: Final = "b0000000-0000-4000-8000-00000000000a"
HEADERS: Final = {
    "x-auth-token": "admin",
    "accept": "application/json",
    "openstack-api-version": "placement 1.39",
}
START_SECONDS: Final = 30.0

One = Callable[[int], Awaitable[str]]
"""Does the n-th thing and says how it ended."""


def main() -> None:
    options = parse(sys.argv[1:])
    with subject() as running:
        result = uvloop.run(_measure(running, options))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
        print(f"\nwritten to {options.json}")


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="just bench-placement", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--providers", type=int, default=1000, help="that are there beforehand (1000)")
    parser.add_argument("--servers", type=int, default=10_000, help="that hold something of them (10000)")
    parser.add_argument("--concurrency", type=_numbers, default=[1, 8, 32], help="requests in flight (1,8,32)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement (4)")
    parser.add_argument("--only", default="", help="measure only what has this in its name")
    parser.add_argument("--json", type=Path, help="write all figures to this file as well")
    return parser.parse_args(words)


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


@frozen
class Running:
    """What is measured."""

    store: StoreSettings
    url: str
    gauges: Gauges
    conditions: dict[str, Any]


@contextmanager
def subject() -> Iterator[Running]:
    """An etcd and one placement process in a directory of their own, gone at the end."""
    prefer_named_etcd()
    unwind_on_signals()
    found = find_etcd(cache_dir(), print)
    with tempfile.TemporaryDirectory(prefix="kilonova-bench-") as directory:
        work, etcd_port, port = Path(directory), free_port(), free_port()
        store = StoreSettings((f"127.0.0.1:{etcd_port}",), PREFIX)
        config = work / "placement.toml"
        config.write_text(
            f'[top.store]\nendpoints = ["{store.endpoints[0]}"]\nprefix = "{PREFIX}"\n'
            f'[placement]\nauth_strategy = "noauth2"\nport = {port}\n'
        )
        placement = [str(Path(sys.executable).parent / "kilonova"), "placement", "--config", str(config)]
        with (
            _process(etcd_command(found.program, work / "etcd", etcd_port, free_port())) as etcd,
            _until(lambda: etcd_ready(etcd_port)),
            _process(placement) as serving,
            _until(lambda: answers(f"http://127.0.0.1:{port}/")),
        ):
            conditions = {
                "when": datetime.now(UTC).isoformat(timespec="seconds"),
                "cores": os.cpu_count(),
                "load before": os.getloadavg()[0],
                "python": platform.python_version(),
                "etcd": ".".join(map(str, found.version)),
                "data on": file_system(work),
            }
            gauges = Gauges({"placement": serving.pid, "etcd": etcd.pid}, {}, None)
            yield Running(store, f"http://127.0.0.1:{port}", gauges, conditions)


@contextmanager
def _process(command: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(tied(command), stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _until(ready: Callable[[], bool]) -> Iterator[None]:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            raise RuntimeError("it did not start")
        time.sleep(0.05)
    yield


def _uuid(*parts: object) -> str:
    return str(uuid5(NAMESPACE_URL, "/".join(map(str, parts))))


async def load(settings: StoreSettings, providers: int, servers: int) -> None:
    """The records that as many creations and claims leave."""
    etcd = Etcd(settings)
    store, now, rng = Store(etcd, settings.prefix), datetime.now(UTC), random.Random(1)
    standard = sorted(set(os_traits.get_traits()) - {REQUIRED, SHARING})
    held = Counter(n % providers for n in range(servers))
    turns = asyncio.Semaphore(8)

    def provider(txn: Txn, n: int) -> None:
        traits = frozenset(rng.sample(standard, TRAITS - n % 2)) | ({REQUIRED} if n % 2 else set())
        uuid, name, aggregate = _uuid("provider", n), f"bench-{n:06d}", _uuid("aggregate", n % AGGREGATES)
        used = {cls: amount * held[n] for cls, amount in CLAIM.items()}
        txn.put(
            Global.PROVIDERS(uuid),
            Provider(uuid, name, INVENTORY, traits, aggregates=frozenset({aggregate}), updated=now),
        )
        txn.put(Global.PROVIDER_NAMES(name), NameIndex(uuid))
        txn.put(Global.USAGES(uuid), with_claim(Usages(updated=now), used))

    def server(txn: Txn, n: int) -> None:
        uuid = _uuid("server", n)
        held_there = {_uuid("provider", n % providers): CLAIM}
        txn.put(Global.ALLOCATIONS(uuid), Allocation(uuid, PROJECT, "bench", held_there, now))

    async def write(one: Callable[[Txn, int], None], first: int, end: int) -> None:
        async with turns:
            txn = Txn("bench")
            for n in range(first, end):
                one(txn, n)
            await store.commit(txn)

    try:
        for one, count in ((provider, providers), (server, servers)):
            await asyncio.gather(*(write(one, n, min(n + BATCH, count)) for n in range(0, count, BATCH)))
    finally:
        await etcd.close()


@define
class Bench:
    running: Running
    client: LeanClient
    seconds: float
    only: str
    rows: list[dict[str, Any]]

    async def run(self, name: str, in_flight: int, one: One) -> None:
        """As many as are done in the time, each worker one after another."""
        if self.only not in name:
            return
        took: list[float] = []
        ends: Counter[str] = Counter()
        numbers = iter(range(10**9))

        async def work(until: float) -> None:
            while (began := time.perf_counter()) < until:
                ends[await one(next(numbers))] += 1
                took.append(time.perf_counter() - began)

        before, began = self.running.gauges.cpu(), time.perf_counter()
        await asyncio.gather(*(work(began + self.seconds) for _ in range(in_flight)))
        seconds = time.perf_counter() - began
        cost = self.running.gauges.cpu() - before
        row = {
            "name": name,
            "in_flight": in_flight,
            "per_second": round(len(took) / seconds, 1),
            **{f"p{share * 100:.0f}_ms": round(quantile(took, share) * 1000, 2) for share in (0.5, 0.95, 0.99)},
            "cpu_ms": {role: round(cost[role] / len(took), 3) for role in ("placement", "etcd", BENCH)},
            "ends": dict(ends),
        }
        self.rows.append(row)
        spread = ", ".join(f"{key[:-3]} {row[key]} ms" for key in ("p50_ms", "p95_ms", "p99_ms"))
        spent = ", ".join(f"{role} {ms}" for role, ms in row["cpu_ms"].items())
        odd = "" if set(ends) <= {"200", "201", "204"} else f"; ends {dict(ends)}"
        print(
            f"  {name:<34} {in_flight:>2} in flight: {row['per_second']:8.1f}/s  {spread}; CPU ms each: {spent}{odd}",
            flush=True,
        )

    async def read(self, name: str, in_flight: int, paths: list[str]) -> None:
        async def one(n: int) -> str:
            return str((await self.client.send("GET", paths[n % len(paths)])).status_code)

        await self.run(name, in_flight, one)

    async def create(self, in_flight: int) -> None:
        made: list[str] = []

        async def one(n: int) -> str:
            new = {"uuid": str(uuid4()), "name": f"extra-{uuid4()}"}
            answer = await self.client.send("POST", "/resource_providers", new)
            if answer.status_code != 200:
                return f"POST {answer.status_code}"
            made.append(new["uuid"])
            inventories = {name: {"total": i.total, "max_unit": i.max_unit} for name, i in INVENTORY.items()}
            body = {"resource_provider_generation": answer.json()["generation"], "inventories": inventories}
            answer = await self.client.send("PUT", f"/resource_providers/{new['uuid']}/inventories", body)
            return str(answer.status_code)

        await self.run("provider and inventory created", in_flight, one)
        await self._undo([f"/resource_providers/{uuid}" for uuid in made])

    async def claim(self, name: str, in_flight: int, providers: list[str]) -> None:
        made: list[str] = []

        async def one(n: int) -> str:
            consumer = str(uuid4())
            body = {
                "allocations": {providers[n % len(providers)]: {"resources": CLAIM}},
                "project_id": PROJECT,
                "user_id": "bench",
                "consumer_generation": None,
                "consumer_type": "INSTANCE",
            }
            answer = await self.client.send("PUT", f"/allocations/{consumer}", body)
            if answer.status_code == 204:
                made.append(f"/allocations/{consumer}")
            return str(answer.status_code)

        await self.run(name, in_flight, one)
        await self._undo(made)

    async def _undo(self, paths: list[str]) -> None:
        left = iter(paths)

        async def work() -> None:
            for path in left:
                answer: Answer = await self.client.send("DELETE", path)
                assert answer.status_code == 204, answer.text

        await asyncio.gather(*(work() for _ in range(16)))


async def _measure(running: Running, options: argparse.Namespace) -> dict[str, Any]:
    print(memory_text("idle memory", running.gauges.memory()))
    began = time.monotonic()
    await load(running.store, options.providers, options.servers)
    client = LeanClient(running.url, HEADERS)
    answer = await client.send("GET", f"/resource_providers?name=bench-{options.providers - 1:06d}")
    assert answer.json()["resource_providers"], "what was stored is not seen"
    conditions = {
        **running.conditions,
        "providers": options.providers,
        "servers": options.servers,
        "traits each": TRAITS,
        "stored in s": round(time.monotonic() - began, 1),
    }
    print(conditions_text(conditions))
    loaded = running.gauges.memory()
    print(memory_text("memory, loaded", loaded), flush=True)
    bench = Bench(running, client, options.seconds, options.only, [])
    resources = "/allocation_candidates?resources=" + ",".join(f"{name}:{n}" for name, n in CLAIM.items())
    special = f"&required={REQUIRED}&member_of={_uuid('aggregate', 3)}"
    numbers = [random.Random(7).randrange(options.providers) for _ in range(200)]
    uuids = [_uuid("provider", n) for n in range(options.providers)]
    reads = {
        "candidates, limit 10": [f"{resources}&limit=10"],
        "candidates, limit 1000": [f"{resources}&limit=1000"],
        "candidates, special, limit 10": [f"{resources}{special}&limit=10"],
        "candidates, special, limit 1000": [f"{resources}{special}&limit=1000"],
        "provider by name": [f"/resource_providers?name=bench-{n:06d}" for n in numbers],
        "usages of a provider": [f"/resource_providers/{uuids[n]}/usages" for n in numbers],
        "usages of a project": [f"/usages?project_id={PROJECT}"],
    }
    for name, paths in reads.items():
        for in_flight in options.concurrency:
            await bench.read(name, in_flight, paths)
    for in_flight in options.concurrency:
        await bench.create(in_flight)
    random.Random(11).shuffle(uuids)
    hot = str(uuid4())
    await client.send("POST", "/resource_providers", {"uuid": hot, "name": "hot"})
    body = {"resource_provider_generation": 0, "inventories": BIG}
    answer = await client.send("PUT", f"/resource_providers/{hot}/inventories", body)
    assert answer.status_code == 200, answer.text
    for name, targets in (("claims over all providers", uuids), ("claims on one provider", [hot])):
        for in_flight in options.concurrency:
            await bench.claim(name, in_flight, targets)
    memory = running.gauges.memory()
    print(memory_text("memory after the load", memory))
    client.close()
    return {"conditions": conditions, "memory": {"loaded": loaded, "after": memory}, "rows": bench.rows}


if __name__ == "__main__":
    main()
