"""`just bench-list`: shows and lists of servers through the API, how many a second and how late.

One API process, no boots meanwhile. The project of the one who asks holds some servers, others' hold the rest, which
must not matter: with `--again` as many more are stored and everything is measured once more.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from tests.bench.http import LeanClient
from tests.bench.report import memory_text, quantile
from tests.bench.stored import store_servers
from tests.bench.subject import Subject, own_site
from tests.site_client import SiteClient

SECONDS = 5.0
"""of each measurement, after a second of the same"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="just bench-list", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--servers", type=int, default=1000, help="in the project that is listed (1000)")
    parser.add_argument("--stored", type=int, default=50_000, help="in all projects (50000)")
    parser.add_argument("--again", action="store_true", help="store as many again and measure once more")
    options = parser.parse_args(sys.argv[1:])
    with (
        tempfile.TemporaryDirectory(prefix="kilonova-bench-") as parent,
        own_site(Path(parent) / "site", 100, keep=False) as subject,
    ):
        uvloop.run(_measure(subject, options))


async def _measure(subject: Subject, options: argparse.Namespace) -> None:
    client = await SiteClient.login(subject.endpoints, "admin", "admin", subject.password)
    await store_servers(subject.settings, options.servers, client.project)
    more, stored = options.stored - options.servers, options.stored
    try:
        for _ in range(2 if options.again else 1):
            await store_servers(subject.settings, more)
            print(f"\n{stored} servers stored, {options.servers} of them in the project", flush=True)
            await _round(subject, client)
            stored += more
    finally:
        await client.http.aclose()
    print(memory_text("memory", subject.gauges.memory()))


async def _round(subject: Subject, client: SiteClient) -> None:
    servers = [s["id"] for s in (await client.ok("GET", "/servers"))["servers"]]
    lean = LeanClient(client.compute, client.headers)
    choice = random.Random(1).choice

    async def run(name: str, in_flight: int, path: Callable[[], str]) -> None:
        took: list[float] = []

        async def ask(until: float, seen: list[float]) -> None:
            while (began := time.perf_counter()) < until:
                answer = await lean.send("GET", path())
                assert answer.status_code == 200, answer.text[:200]
                seen.append(time.perf_counter() - began)

        for seconds, seen in ((1.0, []), (SECONDS, took)):
            before = await asyncio.to_thread(subject.gauges.read)
            began = time.perf_counter()
            await asyncio.gather(*(ask(began + seconds, seen) for _ in range(in_flight)))
        cost = (await asyncio.to_thread(subject.gauges.read)).since(before)
        rate = len(took) / (time.perf_counter() - began)
        spread = ", ".join(f"p{share * 100:.0f} {quantile(took, share) * 1000:.1f} ms" for share in (0.5, 0.95, 0.99))
        spent = ", ".join(f"{role} {ms / len(took):.2f}" for role, ms in cost.cpu.most_common(3))
        print(f"  {name:<34} {in_flight:>2} in flight: {rate:7.1f}/s  {spread}; CPU ms each: {spent}", flush=True)

    for in_flight in (1, 8, 32):
        await run("show", in_flight, lambda: f"/servers/{choice(servers)}")
    for in_flight in (1, 8):
        await run("page of 100 in detail", in_flight, lambda: "/servers/detail?limit=100")
    await run("page of 1,000 in detail", 1, lambda: "/servers/detail?limit=1000")
    await run("page of 1,000 of all projects", 1, lambda: "/servers/detail?limit=1000&all_tenants=1")
    await run("page of 1,000, names only", 1, lambda: "/servers?limit=1000")
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    await run("changes-since, nothing changed", 1, lambda: f"/servers/detail?changes-since={since}")
    lean.close()


if __name__ == "__main__":
    main()
