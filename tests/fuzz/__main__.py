"""Starts a site of simulated hosts, or takes one that runs, and fuzzes it."""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import requests

from control.site.foreground import unwind_on_signals
from tests.bench.subject import Subject, attached, own_site
from tests.fuzz.abuse import abuse, half_requests
from tests.fuzz.people import ROLES, Person, people
from tests.fuzz.report import summed_up, table
from tests.fuzz.rooms import ROOMS, Room
from tests.fuzz.run import Outcome, run
from tests.fuzz.strain import Strain
from tests.fuzz.targets import Target, targets
from tests.site_client import GUEST

LAST: Final = ("quotas.", "quota-classes.", "hosts.", "services.")
"""They change what all others need"""
VERSIONS: Final = ("2.1", "2.100")
REQUESTS: Final = ("documented", "abusive")


def main() -> int:
    asked = _arguments()
    unwind_on_signals()
    with _subject(asked.site) as subject:
        failed = False
        for room in (ROOMS[name] for name in asked.room):
            for version in asked.version if room.name == "compute" else VERSIONS[:1]:
                told = targets(room.document(subject.options.url, version), room.role)
                wanted = [t for t in told if not asked.only or any(o in t.name for o in asked.only)]
                wanted.sort(key=lambda t: t.name.startswith(LAST))
                if "abusive" in asked.requests:
                    failed |= not _abuse(subject, room, version, wanted)
                for role in asked.role if "documented" in asked.requests else ():
                    outcomes = _fuzz(subject, room, version, role, wanted, asked.examples)
                    title = f"{role} at {version}" if room.name == "compute" else f"{role} in {room.name}"
                    print(table(outcomes, title), flush=True)
                    failed |= not summed_up(outcomes, title)
        if "abusive" in asked.requests:
            held = half_requests(subject.options.url)
            print(f"half requests: {len(held)} that were not given up", *held, sep="\n  ", flush=True)
            failed |= bool(held)
    return int(failed)


def _abuse(subject: Subject, room: Room, version: str, wanted: list[Target]) -> bool:
    """What no document describes, as a member, whom everybody may be; whether all of it held."""
    who = people(subject.options.url, subject.password, version)
    ground = room.ground(who, "member", _image(who["admin"]) if room.name == "compute" else "")
    ground.lay()
    url, failed = f"{subject.options.url}{room.base}", False
    strain = Strain(subject)
    for target in wanted:
        ground.prepare(target.name)
        strain.begin()
        found = abuse(target, who["member"], ground, url)
        for fault in (*found.failed, *strain.faults(found.sent)):
            print(f"  abused {target.name}: {fault}", flush=True)
            failed = True
    print(f"abused {room.name} at {version}: {strain.summary()}", flush=True)
    return not failed


def _fuzz(subject: Subject, room: Room, version: str, role: str, wanted: list[Target], examples: int) -> list[Outcome]:
    who = people(subject.options.url, subject.password, version)
    ground = room.ground(who, role, _image(who["admin"]) if room.name == "compute" else "")
    ground.lay()
    outcomes = []
    for target in wanted:
        began = time.monotonic()
        outcomes.append(run(target, who[role], ground, examples, f"{subject.options.url}{room.base}"))
        codes, seconds = dict(sorted(outcomes[-1].codes.items())), time.monotonic() - began
        print(f"  {role} {version} {target.name}: {codes} in {seconds:.0f} s", flush=True)
        for broken in outcomes[-1].broken.values():
            print(f"    {broken.check}: {broken.told}\n    {broken.sent}", flush=True)
    return outcomes


def _image(admin: Person) -> str:
    """A public one with bytes."""
    about = {"name": "fuzz", "disk_format": "raw", "container_format": "bare", "visibility": "public"}
    image = str(admin.ok("POST", "/image/v2/images", about)["id"])
    headers = {"X-Auth-Token": admin.token, "Content-Type": "application/octet-stream"}
    requests.put(
        f"{admin.url}/image/v2/images/{image}/file", data=GUEST, headers=headers, timeout=60
    ).raise_for_status()
    return image


@contextmanager
def _subject(site: Path | None) -> Iterator[Subject]:
    if site:
        yield attached(site)
        return
    with tempfile.TemporaryDirectory() as directory, own_site(Path(directory) / "site", 4, keep=False) as subject:
        yield subject


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="just fuzz", description=__doc__)
    parser.add_argument("--examples", type=int, default=200, help="of each operation, for each role and version")
    parser.add_argument("--room", action="append", choices=list(ROOMS), help="one of the rooms; all")
    parser.add_argument("--role", action="append", choices=ROLES, help="one of the roles; all")
    parser.add_argument("--version", action="append", help="a microversion; the lowest and the highest")
    parser.add_argument("--requests", action="append", choices=REQUESTS, help="one of the kinds of requests; both")
    parser.add_argument("--only", action="append", help="a part of operations' names")
    parser.add_argument("--site", type=Path, help="site.json of a running site of simulated hosts; one of its own")
    asked = parser.parse_args()
    asked.room = asked.room or list(ROOMS)
    asked.requests = asked.requests or REQUESTS
    asked.role, asked.version = asked.role or ROLES, asked.version or VERSIONS
    return asked


if __name__ == "__main__":
    sys.exit(main())
