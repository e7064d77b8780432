"""`just bench-boot`: boots and deletes through the API, how fast, how late, and what they cost.

Servers in flight: each of C workers POSTs a server, waits until it is ACTIVE and goes on with the next. One project,
one flavor, no networks, the simulated driver without delays: what remains is the control plane. Everything runs on this
machine, the load included, whose own CPU is shown as `this bench`.
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop
from attrs import asdict, define, field

from tests.bench.gauges import Reading
from tests.bench.http import LeanClient
from tests.bench.report import conditions_text, flatness_text, memory_text, summary_text
from tests.bench.stored import fill, store_servers
from tests.bench.subject import Subject, attached, file_system, own_site, versions
from tests.bench.watching import ServerError, Watching, watching
from tests.site_client import SiteClient

WARM_UP = 20
DELETES_IN_FLIGHT = 32
IDLE_SECONDS = 3.0
"""after a burst of work, before memory is read"""


@define
class Phase:
    """What one round of boots or deletes did."""

    name: str
    in_flight: int
    full: int = 0
    """percent of the hosts' capacity that was taken before"""
    began: float = 0.0
    ended: float = 0.0
    accepted: list[float] = field(factory=list)
    """seconds from the request to its 202 or 204"""
    done: list[float] = field(factory=list)
    """seconds from the request to ACTIVE or gone"""
    errors: list[str] = field(factory=list)
    cost: Reading = field(factory=Reading)

    @property
    def per_second(self) -> float:
        return len(self.done) / (self.ended - self.began) if self.done else 0.0


def main() -> None:
    options = parse(sys.argv[1:])
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs inherit SIGINT as ignored
        signal.signal(number, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            result = uvloop.run(_measure(subject_of(stack, options), options))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
        print(f"\nwritten to {options.json}")


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="just bench-boot", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--hosts", type=int, default=100, help="simulated hosts (100)")
    parser.add_argument("--servers", type=int, default=300, help="boots a round (300); a third of it one at a time")
    parser.add_argument("--concurrency", type=_numbers, default=[1, 8, 32], help="servers in flight by round (1,8,32)")
    parser.add_argument("--stored", type=int, default=10_000, help="servers that are there before (10000)")
    parser.add_argument(
        "--full", type=_numbers, default=[], help="measure with the hosts so many percent full, in tens: 0,50,90"
    )
    parser.add_argument("--poll", type=float, default=0.0, help="see ACTIVE by asking the API every so many seconds")
    parser.add_argument("--json", type=Path, help="write all figures to this file as well")
    parser.add_argument("--keep", action="store_true", help="leave the site running")
    parser.add_argument("--dir", type=Path, help="the site's directory; it should be on a disk")
    parser.add_argument("--attach", type=Path, metavar="SITE_JSON", help="measure a running site: its run/site.json")
    return parser.parse_args(words)


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def subject_of(stack: ExitStack, options: argparse.Namespace) -> Subject:
    """The site that `attach`, `dir`, `hosts` and `keep` name; one of our own is down when the stack ends."""
    if options.attach:
        return attached(options.attach)
    directory = options.dir
    if directory is None:
        parent = tempfile.mkdtemp(prefix="kilonova-bench-")
        directory = Path(parent) / "site"
        if not options.keep:
            stack.callback(lambda: Path(parent).rmdir())
    return stack.enter_context(own_site(directory, options.hosts, keep=options.keep))


async def _measure(subject: Subject, options: argparse.Namespace) -> dict[str, Any]:
    measuring = asyncio.current_task()
    assert measuring is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, measuring.cancel)
    client = await SiteClient.login(subject.endpoints, "admin", "admin", subject.password)
    try:
        flavor, image = await client.seed_flavor(), await client.seed_image()
        await client.lift_quota()
        if options.stored:
            began = time.monotonic()
            await store_servers(subject.settings, options.stored)
            print(f"  {options.stored} servers stored beforehand ({time.monotonic() - began:.1f} s)", flush=True)
        conditions = await _conditions(subject, client, options)
        print(f"\n{conditions_text(conditions)}", flush=True)
        await asyncio.sleep(IDLE_SECONDS)
        idle = subject.gauges.memory()
        print(f"\n{memory_text('idle memory', idle)}\n", flush=True)
        async with watching(subject.settings, client, options.poll) as seen:
            phases: list[Phase] = []
            taken = 0
            for full in options.full or [0]:
                if full > taken:
                    count = await fill(subject.settings, taken, full)
                    print(f"\n{full} % of all hosts are taken, by {count} servers more\n", flush=True)
                    taken = full
                phases += await _rounds(subject, client, seen, options, flavor, image, taken)
            if options.full:
                print(f"\n{flatness_text(phases)}")
            print(f"\nACTIVE and gone are seen with a resolution {seen.resolution}")
        await asyncio.sleep(IDLE_SECONDS)
        after = subject.gauges.memory()
        print(f"{memory_text('memory after the load', after)}")
    finally:
        await client.http.aclose()
    return {
        "conditions": conditions,
        "memory": {"idle": idle, "after": after},
        "phases": [_plain(phase) for phase in phases],
    }


async def _rounds(
    subject: Subject,
    client: SiteClient,
    seen: Watching,
    options: argparse.Namespace,
    flavor: str,
    image: str,
    full: int,
) -> list[Phase]:
    """Boots at each concurrency, deleting after each, so that all begin alike."""
    phases = []
    lean = LeanClient(client.compute, client.headers)

    async def round_of(name: str, in_flight: int, one: Callable[[Phase, Any], Awaitable[None]], items: list) -> Phase:
        phase = Phase(name, in_flight, full)
        before = await asyncio.to_thread(subject.gauges.read)
        phase.began = time.perf_counter()
        await _workers(in_flight, items, lambda item: one(phase, item))
        phase.ended = time.perf_counter()
        phase.cost = (await asyncio.to_thread(subject.gauges.read)).since(before)
        return phase

    booted: list[str] = []

    async def boot(phase: Phase, number: int) -> None:
        draft = client.draft(f"bench-{phase.in_flight}-{number}", flavor, image)
        began = time.perf_counter()
        answer = await lean.send("POST", "/servers", draft)
        if answer.status_code != 202:
            phase.errors.append(f"{answer.status_code} {answer.text[:120]}")
            return
        phase.accepted.append(time.perf_counter() - began)
        server = answer.json()["server"]["id"]
        booted.append(server)
        try:
            phase.done.append(await seen.active(server) - began)
        except (ServerError, TimeoutError) as error:
            phase.errors.append(f"{type(error).__name__} {error}")

    async def delete(phase: Phase, server: str) -> None:
        began = time.perf_counter()
        answer = await lean.send("DELETE", f"/servers/{server}")
        if answer.status_code != 204:
            phase.errors.append(f"{answer.status_code} {answer.text[:120]}")
            return
        phase.accepted.append(time.perf_counter() - began)
        try:
            phase.done.append(await seen.gone(server) - began)
        except TimeoutError:
            phase.errors.append("not gone in time")

    await round_of("warm-up", 8, boot, list(range(WARM_UP)))
    for in_flight in options.concurrency:
        count = max(1, options.servers // 3) if in_flight == 1 else options.servers
        phase = await round_of("boot", in_flight, boot, list(range(count)))
        phases.append(phase)
        print(summary_text(phase), flush=True)
        await _check_shown(client, booted)
        doomed, booted[:] = list(booted), []
        phase = await round_of("delete", DELETES_IN_FLIGHT, delete, doomed)
        phases.append(phase)
        print(summary_text(phase), flush=True)
    lean.close()
    return phases


async def _workers(count: int, items: list, one: Callable[[Any], Awaitable[None]]) -> None:
    waiting = iter(items)

    async def work() -> None:
        for item in waiting:
            await one(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(count, len(items))):
            group.create_task(work())


async def _check_shown(client: SiteClient, servers: list[str]) -> None:
    """What the watch said, the API says."""
    for server in servers[:: max(1, len(servers) // 20)]:
        shown = await client.show(server)
        assert shown is not None, f"{server} is not shown"
        assert shown["status"] in ("ACTIVE", "ERROR"), shown["status"]


async def _conditions(subject: Subject, client: SiteClient, options: argparse.Namespace) -> dict[str, Any]:
    hypervisors = (await client.ok("GET", "/os-hypervisors/statistics"))["hypervisor_statistics"]
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "python": platform.python_version(),
        **await asyncio.to_thread(versions),
        "hosts": hypervisors["count"],
        "stored servers": options.stored,
        "fsync": "on",
        "file system": await asyncio.to_thread(file_system, subject.layout.etcd_data),
        "load": "a lean HTTP client, in this process",
        "seen by": f"API every {options.poll} s" if options.poll else "watch",
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _plain(phase: Phase) -> dict[str, Any]:
    cost = asdict(phase.cost)
    cost["transactions"] = {f"{purpose}: {how}": n for (purpose, how), n in phase.cost.transactions.items() if n}
    return {**asdict(phase, recurse=False), "per_second": phase.per_second, "cost": cost}


if __name__ == "__main__":
    main()
