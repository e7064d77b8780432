"""A site whose processes are killed, paused and started one by one; leases are as short as etcd allows."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
from attrs import define, frozen

from control.site.etcd import cache_dir, find_etcd
from control.site.files import agent_config, control_config, site_secrets, to_toml
from control.site.http import hosts_up
from control.site.nats import find_nats, nats_config
from control.site.options import Layout, SiteOptions
from control.site.parts import Part, own_parts, substrate_parts
from control.site.processes import Processes, Record, is_alive, send_signal
from kv.client import Etcd
from kv.keys import Cell, Global
from kv.store import Store
from schemas.shards import SHARDS
from tests.bench.subject import prefer_named_etcd
from tests.chaos.crashing import FIRED, point_file
from tests.chaos.invariants import SiteView, violations
from tests.chaos.view import etcd_at, read_site
from tests.ports import site_ports
from tests.site_client import HUGE, SiteClient

ROOT = Path(__file__).parents[2]
ROLES = ("scheduler", "super-conductor", "conductor", "api", "agent")
TWIN = "-2"
HOSTS = 4
START_SECONDS = 90.0
CLIENT_SECONDS = 60.0
"""Longer than any pause and than the API's own deadline: who turned away from a paused API would find what he asked for
made behind his back."""
REST_SECONDS = 60.0
"""within which a site with everything running again has to come to rest"""
POLL_SECONDS = 0.02
VIEW_SECONDS = 0.1
"""between two readings of everything"""

FAST: dict[str, dict[str, object]] = {
    "api": {"request_timeout": 10.0},
    "conductor": {"lease_ttl": 2, "host_lease_ttl": 15, "rescan_seconds": 0.5},
    "process": {"drain_seconds": 2.0},
}
FAST_AGENT = {"heartbeat_seconds": 1.0, "inventory_seconds": 3.0}


class NotInTime(AssertionError):
    """What was waited for did not come about."""


@frozen
class Seed:
    flavor: str
    huge: str
    image: str
    headers: dict[str, str]
    project: str


@define(eq=False)
class ChaosSite:
    """`up` once, `visit` in each test, `down` at the end. Everything it starts it knows by pid and start time."""

    layout: Layout
    options: SiteOptions
    processes: Processes
    parts: dict[str, Part]
    seed: Seed | None = None

    @classmethod
    def made(cls, directory: Path) -> "ChaosSite":
        """Writes the files; nothing runs yet."""
        prefer_named_etcd()
        layout = Layout(directory.resolve())
        options = SiteOptions("simulated", HOSTS, site_ports())
        for folder in (layout.root, layout.etcd_data, layout.nats_data, layout.spool, layout.agent_state):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for role in ROLES:
            (layout.root / "points" / role).mkdir(parents=True, exist_ok=True)
        layout.nats_config.write_text(nats_config(options.ports.nats, layout.nats_data))
        layout.control_config.write_text(to_toml(_faster(control_config(options, layout))))
        agent = agent_config(options, layout)
        layout.agent_config.write_text(to_toml({"agent": {**agent["agent"], **FAST_AGENT}}))  # type: ignore[dict-item]
        etcd = find_etcd(cache_dir(), print).program
        parts = [*substrate_parts(options, layout, etcd, find_nats()), *own_parts(options, layout)]
        return cls(layout, options, Processes(layout.processes, layout.logs), {part.role: part for part in parts})

    def up(self) -> None:
        for role in ("etcd", "nats"):
            self.start(role)
        for role in ("etcd", "nats"):
            self.ready(role)
        passwords = site_secrets(self.layout.secrets)
        subprocess.run(
            [sys.executable, "-m", "kilonova.cli", "bootstrap", "--config", self.layout.control_config],
            env={**os.environ, "KILONOVA_ADMIN_PASSWORD": passwords.admin},
            cwd=ROOT,
            check=True,
            capture_output=True,
            timeout=60,
        )
        for role in ROLES:
            self.start(role)
        for role in ROLES:
            self.ready(role)
        wait_for(lambda: hosts_up(self.options, passwords.admin) == HOSTS, "all hosts are up", START_SECONDS)
        self.seed = asyncio.run(self._seeded(passwords.admin))

    def down(self) -> None:
        for record in self.processes.records():
            send_signal(record, signal.SIGCONT)
        self.processes.stop([*ROLES, *(role + TWIN for role in ROLES), "nats", "etcd"], 10.0)

    def start(self, role: str) -> Record:
        """`ROLE` + TWIN is a second process of the role, without metrics."""
        part = self.parts[role.removesuffix(TWIN)]
        if part.role not in ROLES:
            return self.processes.start(role, part.command, part.environment)
        words = part.command[1:]
        command = [sys.executable, "-m", "tests.chaos.crashing", self.layout.root / "points", role, "--", *words]
        environment = {**part.environment, "PYTHONPATH": str(ROOT)}
        if role.endswith(TWIN):
            environment["KILONOVA_PROCESS_OBSERVE_PORT"] = "0"
        return self.processes.start(role, command, environment)

    def ready(self, role: str) -> None:
        record = self.processes.find(role)
        assert record is not None, f"{role} ended at once{self.processes.log_tail(role)}"
        self.processes.wait_ready(record, self.parts[role].ready, START_SECONDS)

    def kill(self, role: str) -> None:
        """SIGKILL; returns when it is gone."""
        record = self.processes.find(role)
        assert record is not None, f"{role} does not run"
        send_signal(record, signal.SIGKILL)
        wait_for(lambda: not is_alive(record), f"{role} is gone", 30.0)

    def signal(self, role: str, number: signal.Signals) -> None:
        record = self.processes.find(role)
        assert record is not None, f"{role} does not run"
        send_signal(record, number)

    def arm(self, role: str, point: str, order: str = "kill") -> None:
        """The next process of that role that comes to that point does as it is told, once."""
        path = self._point(role, point)
        path.with_name(path.name + FIRED).unlink(missing_ok=True)
        path.write_text(order)

    def disarm(self) -> None:
        for path in (self.layout.root / "points").glob("*/*"):
            path.unlink()

    def has_fired(self, role: str, point: str) -> bool:
        path = self._point(role, point)
        return path.with_name(path.name + FIRED).exists()

    async def replaced(self, role: str, point: str, seconds: float = 45.0) -> None:
        """Waits until the process has died there and starts another at once."""
        await self.died(role, point, seconds)
        self.start(role)

    async def died(self, role: str, point: str, seconds: float = 45.0) -> None:
        await until(lambda: self.has_fired(role, point), f"{role} comes to {point!r}", seconds)
        await until(lambda: self.processes.find(role) is None, f"{role} is gone", 30.0)

    @asynccontextmanager
    async def twin(self, role: str) -> AsyncIterator[None]:
        """A second process of the role beside the first. It shares the shards once it has registered."""
        (self.layout.root / "points" / (role + TWIN)).mkdir(exist_ok=True)
        self.start(role + TWIN)
        etcd = etcd_at(self.options.ports.etcd)
        try:
            await until_async(lambda: members_of(etcd, role, 2), f"two of {role} share the shards", 60.0)
            yield
        finally:
            await etcd.close()
            self.signal(role + TWIN, signal.SIGCONT)
            self.kill(role + TWIN)

    async def asleep(self, role: str, point: str) -> str:
        """Which of the two went to sleep at the point; the other does not any more."""
        both = (role, role + TWIN)
        await until(lambda: any(self.has_fired(r, point) for r in both), f"one {role} comes to {point!r}", 45.0)
        found = next(r for r in both if self.has_fired(r, point))
        for other in set(both) - {found}:
            self._point(other, point).unlink(missing_ok=True)
        return found

    def is_stopped(self, role: str) -> bool:
        record = self.processes.find(role)
        assert record is not None, f"{role} does not run"
        return psutil.Process(record.pid).status() == psutil.STATUS_STOPPED

    def _point(self, role: str, point: str) -> Path:
        return self.layout.root / "points" / role / point_file(point)

    async def _seeded(self, password: str) -> Seed:
        client = await SiteClient.login(self.options.endpoints, "admin", "admin", password)
        try:
            flavor, huge, image = await client.seed_flavor(), await client.seed_flavor(HUGE), await client.seed_image()
            await client.lift_quota()
            return Seed(flavor, huge, image, client.headers, client.project)
        finally:
            await client.http.aclose()

    @asynccontextmanager
    async def visit(self) -> AsyncIterator["Visit"]:
        """Client and store in this event loop. A site that a test left half broken is made whole for the next one."""
        assert self.seed is not None
        seed = self.seed
        endpoints = self.options.endpoints
        etcd = etcd_at(self.options.ports.etcd)
        async with httpx.AsyncClient(timeout=CLIENT_SECONDS, trust_env=False, verify=False) as http:
            client = SiteClient(http, endpoints["compute"], endpoints["image"], seed.project, seed.headers)
            try:
                yield Visit(self, seed, client, etcd)
            finally:
                self.disarm()
                for role in self.parts:
                    if self.processes.find(role) is None:
                        self.start(role)
                    self.signal(role, signal.SIGCONT)
                await etcd.close()


@frozen(eq=False)
class Visit:
    """What a test does to a site, with waiting for levels and never for a while."""

    site: ChaosSite
    seed: Seed
    client: SiteClient
    etcd: Etcd

    async def boot(self, name: str, *, huge: bool = False) -> str | None:
        """The server's id; None when the API died over it."""
        flavor = self.seed.huge if huge else self.seed.flavor
        try:
            answer = await self.client.ok("POST", "/servers", self.client.draft(name, flavor, self.seed.image))
        except httpx.TransportError:
            return None
        return str(answer["server"]["id"])

    async def find(self, name: str) -> str | None:
        """By name, as who never got an answer has to look; waits for the API."""
        found = (await self.patiently("GET", "/servers", params={"name": f"^{name}$"}))["servers"]
        assert len(found) <= 1, f"{name} was made {len(found)} times"
        return str(found[0]["id"]) if found else None

    async def delete(self, server: str) -> bool:
        """False when the API died over it or cannot say."""
        try:
            answer = await self.client.send("DELETE", f"/servers/{server}")
        except httpx.TransportError:
            return False
        if answer.status_code == 503:
            return False
        assert answer.status_code in (204, 404), answer.text
        return True

    async def delete_surely(self, server: str, seconds: float = REST_SECONDS) -> None:
        async with deadline(f"{server} can be deleted", seconds):
            while not await self.delete(server):  # noqa: ASYNC110 - another process brings it about
                await asyncio.sleep(POLL_SECONDS)

    async def patiently(self, method: str, path: str, params: dict[str, str] | None = None) -> dict:
        """Repeats while nobody listens or the site says that it cannot now."""
        async with deadline(f"{method} {path} is answered", REST_SECONDS):
            while True:
                try:
                    answer = await self.client.send(method, path, params=params)
                    if answer.status_code != 503:
                        return dict(answer.raise_for_status().json())
                except httpx.TransportError:
                    pass
                await asyncio.sleep(POLL_SECONDS)

    async def status(self, server: str) -> str:
        return str((await self.patiently("GET", f"/servers/{server}"))["server"]["status"])

    async def view(self) -> SiteView:
        return await read_site(self.etcd, "kilonova/global/", self.site.layout.agent_state)

    async def at_rest(self, seconds: float = REST_SECONDS) -> SiteView:
        """The site once nothing is wrong with it any more. Raises NotInTime with all that still is."""
        end = time.monotonic() + seconds
        while True:
            view = await self.view()
            wrong = violations(view)
            if not wrong:
                return view
            if time.monotonic() > end:
                raise NotInTime(f"not at rest after {seconds:g} s:\n  " + "\n  ".join(wrong[:40]))
            await asyncio.sleep(VIEW_SECONDS)

    async def emptied(self) -> None:
        """Deletes every server and waits until nothing of any is left."""
        for uuid in (await self.at_rest()).servers:
            await self.delete_surely(uuid)
        await self.none_left()

    async def none_left(self) -> None:
        """Waits until no server and nothing of any is there."""
        end = time.monotonic() + REST_SECONDS
        while left := nothing_but(view := await self.view()) + violations(view):
            if time.monotonic() > end:
                raise NotInTime(f"left over after {REST_SECONDS:g} s:\n  " + "\n  ".join(left[:40]))
            await asyncio.sleep(VIEW_SECONDS)


def _faster(config: dict[str, Any]) -> dict[str, Any]:
    return config | {section: {**config.get(section, {}), **faster} for section, faster in FAST.items()}


def nothing_but(view: SiteView) -> list[str]:
    """What a site without servers must not have."""
    families = (view.mappings, view.project_lines, view.all_lines, view.specs, view.allocations)
    left = [path for records in families for path in records]
    left += [path for cell in view.cells.values() for path in cell.instances]
    return left + [f"guest {g.server} on {host}" for host, guests in view.guests.items() for g in guests]


async def members_of(etcd: Etcd, role: str, wanted: int) -> bool:
    """Whether so many processes own shards now, and all shards are owned."""
    prefix, families = ("kilonova/global/", Global) if role == "super-conductor" else ("kilonova/cells/cell1/", Cell)
    owners = [stored.value for stored in await Store(etcd, prefix).range(families.LEASES.under())]
    return len(owners) == SHARDS and len(set(owners)) == wanted


async def until_async(condition: Callable[[], Awaitable[bool]], what: str, seconds: float) -> None:
    async with deadline(what, seconds):
        while not await condition():  # noqa: ASYNC110 - another process brings it about
            await asyncio.sleep(POLL_SECONDS)


def wait_for(condition: Callable[[], bool], what: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise NotInTime(f"within {seconds:g} s it did not happen that {what}")
        time.sleep(POLL_SECONDS)


async def until(condition: Callable[[], bool], what: str, seconds: float) -> None:
    async with deadline(what, seconds):
        while not condition():  # noqa: ASYNC110 - another process brings it about
            await asyncio.sleep(POLL_SECONDS)


@asynccontextmanager
async def deadline(what: str, seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise NotInTime(f"within {seconds:g} s it did not happen that {what}") from error
