"""`just bench-soak`: boots and deletes servers for a long time and shows that no process keeps anything for ever.

Workers boot a server, wait until it is ACTIVE, delete it and wait until it is gone. After each part of the servers the
load pauses for a moment and the memory of every process of the site is read: its RSS, and at the end the slope of a
straight line through the readings after the warm-up. Histories of deleted servers stay in etcd for days, so that etcd's
own memory grows with its data.
"""

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import uvloop
from attrs import asdict, define, field, frozen

from tests.bench.boot import subject_of
from tests.bench.http import LeanClient
from tests.bench.subject import Subject
from tests.bench.watching import Watching, watching
from tests.site_client import SiteClient

READINGS = 25
"""of memory in a run"""
WARM_UP = 0.3
"""share of the run after which memory has to be flat: by then caches and allocators have what they take"""
REST_SECONDS = 2.0
"""before memory is read"""
FLAT_KIB = 64.0
"""KiB of RSS a thousand servers, up to which a process counts as flat: with 100,000 servers that is 6 MiB"""
STORES = ("etcd", "nats")
"""hold data that stays"""


@frozen
class Sample:
    servers: int
    """that were booted and deleted before"""
    seconds: float
    rss: dict[str, float]
    """MiB by process"""


@define
class Soak:
    samples: list[Sample] = field(factory=list)
    errors: list[str] = field(factory=list)

    def slopes(self) -> dict[str, float]:
        """KiB a thousand servers by process, after the warm-up."""
        last = self.samples[-1].servers
        later = [s for s in self.samples if s.servers >= last * WARM_UP]
        return {role: 1024 * 1000 * slope([(s.servers, s.rss[role]) for s in later]) for role in later[-1].rss}


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the straight line that fits best."""
    n = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def main() -> None:
    options = parse(sys.argv[1:])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            soak = uvloop.run(run_soak(subject_of(stack, options), options.servers, options.in_flight))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)
    print(summary(soak))
    if options.json:
        found = {"samples": [asdict(s) for s in soak.samples], "slopes": soak.slopes(), "errors": soak.errors}
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    growing = [role for role, kib in soak.slopes().items() if role not in STORES and kib > FLAT_KIB]
    sys.exit(f"not flat: {', '.join(growing)}" if growing else 0)


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="just bench-soak", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--servers", type=int, default=100_000, help="to boot and delete (100000)")
    parser.add_argument("--hosts", type=int, default=100, help="simulated hosts (100)")
    parser.add_argument("--in-flight", type=int, default=48, help="servers at a time (48)")
    parser.add_argument("--json", type=Path, help="write all readings to this file as well")
    parser.add_argument("--keep", action="store_true", help="leave the site running")
    parser.add_argument("--dir", type=Path, help="the site's directory; it should be on a disk")
    parser.add_argument("--attach", type=Path, metavar="SITE_JSON", help="use a running site: its run/site.json")
    return parser.parse_args(words)


async def run_soak(subject: Subject, servers: int, in_flight: int) -> Soak:
    client = await SiteClient.login(subject.endpoints, "admin", "admin", subject.password)
    lean = LeanClient(client.compute, client.headers)
    soak, began = Soak(), time.monotonic()
    try:
        flavor, image = await client.seed_flavor(), await client.seed_image()
        await client.lift_quota()
        draft = client.draft("soak", flavor, image)
        async with watching(subject.settings, client, 0.0) as seen:
            done = 0
            while done < servers:
                part = min(servers - done, max(1, servers // READINGS))
                await _part(soak, lean, seen, draft, part, in_flight)
                done += part
                await asyncio.sleep(REST_SECONDS)
                sample = Sample(done, time.monotonic() - began, resident(subject))
                soak.samples.append(sample)
                print(line(sample), flush=True)
    finally:
        lean.close()
        await client.http.aclose()
    return soak


async def _part(soak: Soak, lean: LeanClient, seen: Watching, draft: Any, count: int, in_flight: int) -> None:
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            try:
                await _one(lean, seen, draft)
            except Exception as error:  # whatever it is, the soak goes on and shows it at the end
                soak.errors.append(repr(error)[:200])

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(work())


async def _one(lean: LeanClient, seen: Watching, draft: Any) -> None:
    answer = await lean.send("POST", "/servers", draft)
    if answer.status_code != 202:
        raise AssertionError(f"{answer.status_code} {answer.text[:120]}")
    server = answer.json()["server"]["id"]
    await seen.active(server)
    answer = await lean.send("DELETE", f"/servers/{server}")
    if answer.status_code != 204:
        raise AssertionError(f"{answer.status_code} {answer.text[:120]}")
    await seen.gone(server)
    seen.forget(server)


def resident(subject: Subject) -> dict[str, float]:
    """MiB by process."""
    return {role: psutil.Process(pid).memory_info().rss / 2**20 for role, pid in subject.gauges.pids.items()}


def line(sample: Sample) -> str:
    rate = sample.servers / sample.seconds
    memory = "  ".join(f"{role} {mib:.0f}" for role, mib in sample.rss.items())
    return f"{sample.servers:7d} servers, {sample.seconds:5.0f} s, {rate:4.0f}/s; MiB: {memory}"


def summary(soak: Soak) -> str:
    first, last = soak.samples[0], soak.samples[-1]
    lines = [f"{last.servers} servers booted and deleted, {len(soak.errors)} errors {soak.errors[:3]}"]
    lines.append("process          first MiB   last MiB   KiB per 1000 servers after the warm-up")
    for role, kib in soak.slopes().items():
        lines.append(f"{role:16s} {first.rss[role]:9.1f}  {last.rss[role]:9.1f}   {kib:9.1f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
