"""A whole site in one process: scheduler, super conductor, a cell's conductor and simulated hosts as tasks, on a real
etcd and nats-server. Its parts can be stopped and started one by one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from attrs import astuple, define, evolve, field
from prometheus_client import REGISTRY
from substrate import eventually

from agents.agent import Agent
from agents.drivers.simulated import Delays, Fault, SimulatedCapacity, SimulatedDriver, SimulatedHypervisor, Verb
from bus.client import Bus
from bus.service import Service
from control.conductor.cell.conductor import run_conductor
from control.conductor.top.conductor import SuperConductor
from control.identity.keys import Keys, add_signing_key
from control.scheduler.feed import Feed
from control.scheduler.service import Scheduler
from control.servers.change import change_server, delete_server
from control.servers.create import ServerDraft, create_servers
from control.servers.find import Found, find_server
from control.top import Top, open_top
from kv.client import Etcd
from kv.keys import Cell, Global, Span
from kv.store import Store
from kv.txn import Txn
from runtime.health import Health
from schemas.context import REQUEST_ID
from schemas.errors import NotFound
from schemas.flavor import Flavor
from schemas.identity import Identity
from schemas.placement import Usages
from schemas.quota import QuotaLimits, QuotaUsage, Used
from schemas.server import CELL0
from schemas.settings import AgentSettings, BusSettings, ConductorSettings, Settings
from schemas.subjects import AGENT_SERVICE, inbox

PERSON = Identity("u1", "somebody", "p1", "project", frozenset({"member"}))
TINY = Flavor("1", "tiny", vcpus=1, memory_mb=512, root_gb=1)
EVERYTHING: Span[Any] = Span("", "~", str)

HASTY = ConductorSettings(lease_ttl=2, rescan_seconds=0.5, host_lease_ttl=15, spawn_timeout=20, command_timeout=5)
"""A busy machine is no dead host: whose host is to die has its lease `run_out`."""


@define(eq=False)
class Host:
    """A machine: change `delays` and `faults` at will, `hypervisor` shows its guests."""

    name: str
    hypervisor: SimulatedHypervisor = field(factory=SimulatedHypervisor)
    delays: dict[Verb, float] = field(factory=dict)
    faults: dict[Verb, Fault] = field(factory=lambda: {"facts": Fault(0.0)})
    progress: float | None = None
    """seconds between two words of progress of what takes long"""
    capacity: SimulatedCapacity = field(factory=SimulatedCapacity)
    id: str = field(factory=lambda: str(uuid4()))
    bus: BusSettings | None = None
    """its own credentials; None: the cell's"""

    def driver(self) -> SimulatedDriver:
        return SimulatedDriver(
            self.name, self.hypervisor, self.capacity, Delays(self.delays, progress=lambda: self.progress), self.faults
        )


@define(eq=False)
class Site:
    settings: Settings
    top: Top
    """as an API process has it"""
    hosts: dict[str, Host] = field(factory=dict)
    parts: dict[str, asyncio.Task[None]] = field(factory=dict)

    # Parts

    async def start(self, *names: str) -> None:
        """`scheduler`, `super`, `conductor` or a host's name. Returns when each does its work."""
        for name in names:
            ready = asyncio.Event()
            self.parts[name] = asyncio.create_task(self._part(name, ready), name=name)
            waiting = asyncio.create_task(ready.wait())
            done, _ = await asyncio.wait([waiting, self.parts[name]], timeout=60, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if self.parts[name] in done:
                self.parts[name].result()
            assert done, f"{name} is not ready"

    async def stop(self, *names: str) -> None:
        """Ends its tasks at once."""
        for name in names:
            task = self.parts.pop(name)
            task.cancel()
            _, stuck = await asyncio.wait([task], timeout=60)
            assert not stuck, f"{name} does not end: " + "\n".join(map(repr, asyncio.all_tasks()))

    async def run_out(self, *hosts: str) -> None:
        """Stops them; they have been silent for as long as their leases last."""
        await self.stop(*(host for host in hosts if host in self.parts))
        cell = self.top.cells.store("cell1")
        for stored in await cell.read_all([Cell.ALIVE(host) for host in hosts]):
            assert stored
            await cell.etcd.revoke(stored.lease)

    def _part(self, name: str, ready: asyncio.Event) -> Coroutine[Any, Any, None]:
        if name == "scheduler":
            return self._scheduler(ready)
        if name == "super":
            return self._super(ready)
        if name == "conductor":
            return self._conductor(ready)
        return self._agent(self.hosts[name], ready)

    async def _scheduler(self, ready: asyncio.Event) -> None:
        async with open_top(self.settings, "scheduler", cell_buses=False) as top:
            feed = Feed(top)
            service = Service(top.bus, "scheduler", "0.1.0", "")
            following = asyncio.create_task(feed.run())
            try:
                await feed.until_ready()
                await eventually(lambda: feed.usable_cells() == {"cell1"})
                await Scheduler(top, feed).serve(service)
                ready.set()
                await asyncio.Event().wait()
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                await service.stop()

    async def _super(self, ready: asyncio.Event) -> None:
        async with open_top(self.settings, "super", cell_buses=True) as top:
            keys = Keys(top.store, top.key)
            following = asyncio.create_task(keys.run())
            health = Health()
            working = SuperConductor(top, keys, f"super-{uuid4()}").run(health, asyncio.Event())
            try:
                await _until_healthy(health, working, ready)
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)

    async def _conductor(self, ready: asyncio.Event) -> None:
        health = Health()
        working = run_conductor(self.settings, f"conductor-{uuid4()}", health, asyncio.Event())
        await _until_healthy(health, working, ready)

    async def _agent(self, host: Host, ready: asyncio.Event) -> None:
        bus = await Bus.connect(host.bus or self.settings.cell.bus, host.name, inbox(host.name))
        service = Service(bus, AGENT_SERVICE, "0.1.0", "")
        agent = Agent(self.settings.agent, host.name, host.id, host.driver(), bus, service)
        health = Health({"registered": lambda: agent.registered})
        try:
            await _until_healthy(health, agent.run(), ready)
        finally:
            await bus.drain()

    async def add_hosts(self, *hosts: Host) -> None:
        """Returns when the top has mapped them, so that a scheduler which starts now knows them."""
        for host in hosts:
            self.hosts[host.name] = host
        await asyncio.gather(*(self.start(h.name) for h in hosts))

        async def mapped() -> bool:
            return await self.top.store.count(Global.USAGES.under()) == len(self.hosts)

        await eventually(mapped)

    # Servers

    async def create(self, flavor: Flavor = TINY, **draft: Any) -> str:
        return (await self.create_many(flavor, **draft))[0]

    async def create_many(self, flavor: Flavor = TINY, **draft: Any) -> list[str]:
        REQUEST_ID.set(f"req-{uuid4()}")
        asked = ServerDraft(**{"name": "web", "flavor": flavor, "image": None, **draft})
        return [s.uuid for s in (await create_servers(self.top, PERSON, asked))[1]]

    async def change(self, uuid: str, action: str, **inputs: Any) -> None:
        REQUEST_ID.set(f"req-{uuid4()}")
        await change_server(self.top, PERSON, uuid, action, inputs)

    async def delete(self, uuid: str) -> None:
        REQUEST_ID.set(f"req-{uuid4()}")
        await delete_server(self.top, PERSON, uuid)

    async def find(self, uuid: str) -> Found | None:
        try:
            return await find_server(self.top, PERSON, uuid)
        except NotFound:
            return None

    async def until(self, uuid: str, condition: Callable[[Found], bool], seconds: float = 30.0) -> Found:
        async def holds() -> Found | None:
            found = await self.find(uuid)
            return found if found and condition(found) else None

        try:
            return await eventually(holds, seconds)  # type: ignore[return-value]  # never None
        except AssertionError:
            raise AssertionError(f"still {await self.find(uuid)}") from None

    async def at_rest(self, uuid: str, vm_state: str, seconds: float = 30.0) -> Found:
        return await self.until(
            uuid, lambda f: f.instance.vm_state == vm_state and f.instance.task_state is None, seconds
        )

    async def gone(self, *uuids: str, seconds: float = 30.0) -> None:
        """Returns when nothing anywhere speaks of them but history."""

        async def left() -> list[str]:
            return [one for uuid in uuids for one in await self.leftovers(uuid)]

        async def nothing() -> bool:
            return not await left()

        try:
            await eventually(nothing, seconds)
        except AssertionError:
            raise AssertionError(f"left over: {await left()}") from None

    async def leftovers(self, uuid: str) -> list[str]:
        """Keys of every store, domains of every host, that name the server; history excepted."""
        found = []
        for name, store in self.stores.items():
            paths = [p for p in await store.paths(EVERYTHING) if uuid in p]
            found += [f"{name}: {p}" for p in paths if not p.startswith(("deleted/", "deleted-of/", "actions/"))]
        return found + [f"guest on {host.name}" for host in self.hosts.values() if uuid in host.hypervisor.guests]

    # Books

    @property
    def stores(self) -> dict[str, Store]:
        return {"global": self.top.store, **{n: self.top.cells.store(n) for n in (CELL0, "cell1")}}

    async def used(self) -> QuotaUsage:
        """By the project; all of it is its one user's."""
        stored = await self.top.store.get(Global.QUOTA_USAGE(PERSON.project))
        if stored is None:
            return QuotaUsage()
        whole = evolve(stored.value, users={})
        assert stored.value.users == ({PERSON.user: Used(*astuple(whole)[:4])} if whole != QuotaUsage() else {})
        return whole

    async def limit(self, **limits: int) -> None:
        await self.top.store.commit(Txn("limit").put(Global.QUOTA_LIMITS(PERSON.project), QuotaLimits(limits)))

    async def claimed(self) -> dict[str, dict[str, int]]:
        """By host, those with claims."""
        mappings = await self.top.store.range(Global.HOSTS.under())
        usages = await self.top.store.read_all([Global.USAGES(m.value.uuid) for m in mappings])
        used = {m.value.host: (u.value if u else Usages()).used for m, u in zip(mappings, usages, strict=True)}
        return {host: amounts for host, amounts in used.items() if amounts}

    async def books_are_empty(self) -> None:
        assert await self.used() == QuotaUsage()
        assert await self.claimed() == {}
        assert await self.top.store.count(Global.ALLOCATIONS.under()) == 0
        assert await self.top.cells.store("cell1").count(Cell.OUTBOX.under()) == 0


async def _until_healthy(health: Health, working: Coroutine[Any, Any, None], ready: asyncio.Event) -> None:
    task = asyncio.create_task(working)
    try:
        while not ready.is_set():
            await asyncio.wait([task], timeout=0.01)
            if task.done():
                break
            if health.checks and not health.missing():
                ready.set()
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def running_site(settings: Settings, *hosts: Host, conductor: ConductorSettings = HASTY) -> AsyncIterator[Site]:
    """With a scheduler, a super conductor, a conductor and these hosts."""
    agent = AgentSettings(cell="cell1", heartbeat_seconds=0.5, inventory_seconds=1.0)
    settings = evolve(settings, conductor=conductor, agent=agent)
    etcd = Etcd(settings.top.store)
    async with open_top(settings, "api", cell_buses=True, serving=True) as top:
        await add_signing_key(top.store, top.key, datetime.now(UTC))
        await eventually(lambda: set(top.cells.names()) == {"cell1"})
        site = Site(settings, top)
        try:
            await asyncio.gather(site.start("super"), site.start("conductor"))
            await site.add_hosts(*hosts)
            await site.start("scheduler")
            yield site
        finally:
            await asyncio.gather(*(site.stop(name) for name in list(site.parts)))
            await etcd.close()


def written() -> dict[str, tuple[int, int]]:
    """By purpose: transactions that were applied and the keys that they wrote, of this process so far."""
    counts: dict[str, tuple[int, int]] = {}
    for metric in REGISTRY.collect():
        for sample in metric.samples:
            purpose = sample.labels.get("purpose", "")
            done, keys = counts.get(purpose, (0, 0))
            if sample.name == "kilonova_store_transactions_total" and sample.labels["outcome"] == "done":
                counts[purpose] = (done + int(sample.value), keys)
            elif sample.name == "kilonova_store_key_writes_total":
                counts[purpose] = (done, keys + int(sample.value))
    return counts
