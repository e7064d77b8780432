"""One conductor of a cell: owns shards, runs their operations, hears their agents."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, Final

import structlog

from bus.client import Bus
from bus.service import Endpoint, Service
from control.conductor.cell.hosts import Hosts
from control.conductor.cell.mender import Mender
from control.conductor.cell.observer import Observer
from control.conductor.cell.runner import Runner
from control.conductor.engine import Engine
from control.conductor.reaper import Reaper
from control.releases import attend_cell
from kv.client import Etcd
from kv.keys import Cell
from kv.shards import Shards
from kv.store import Store
from kv.txn import Txn
from runtime.health import Health
from runtime.process import drained, run_until
from schemas.errors import BadRequest, Conflict, Unavailable
from schemas.messages import FromAgent, HostCall, HostCallReply, Report, ToAgent, Wake
from schemas.settings import Settings
from schemas.shards import shard_of
from schemas.subjects import cell_call, cell_wake, host_verb, report, reporter

log = structlog.get_logger()

SETTLE_SECONDS: Final = 4.0
"""How long an agent's report may wait for its commit before the agent is asked to repeat it."""


class CellConductor:
    def __init__(self, settings: Settings, store: Store, bus: Bus, pod: str) -> None:
        cell = settings.cell.name
        self.service = Service(bus, f"conductor-{cell}", "0.1.0", f"carries out the operations of cell {cell}")
        self.shards = Shards(store, pod, settings.conductor.lease_ttl, self._gained, self._lost, Cell)
        self.observer = Observer(
            store,
            bus,
            self.shards,
            settings,
            lambda hint: self.engine.wake(hint),
            lambda host: self.hosts.release(host),
        )
        self.hosts = Hosts(store, bus, self.shards, settings, self.observer)
        self.runner = Runner(store, bus, self.shards, self.hosts, settings)
        self.engine = Engine(
            store,
            self.shards,
            Cell.OPERATIONS,
            self.service,
            lambda shard: cell_wake(cell, shard),
            self.runner.look,
            settings.conductor.rescan_seconds,
            self.runner.stir,
            self.runner.give_up,
        )
        days = settings.conductor.deleted_days
        self.reaper = Reaper(lambda: store, self.shards.fences, self._commit, days)
        self.mender = Mender(store, self.shards.fences, self._commit)
        self._cell = cell
        self._store = store
        self._bus = bus
        self._reports: dict[int, Endpoint[FromAgent]] = {}

    async def run(self, health: Health, stopping: asyncio.Event, *beside: Coroutine[Any, Any, None]) -> None:
        """Until stopping is set; then drains: what runs is left at its last committed step."""
        await self.service.start()
        await self.service.serve("call", cell_call(self._cell), HostCall, self._call)
        health.checks["shards"] = lambda: self.shards.settled
        health.checks["hosts"] = lambda: self.hosts.services.synced.is_set() and self.hosts.alive.synced.is_set()
        own = (self.hosts.run(), self._when_hosts_known(), self.engine.run(), self.reaper.run(), self.mender.run())
        await run_until(stopping, *own, *beside)
        await drained(5, self.engine.drain(), self.service.stop())
        await self.hosts.close()

    async def _when_hosts_known(self) -> None:
        """Shards are taken after the hosts are known: an empty list would look like a site of dead hosts."""
        await self.hosts.services.synced.wait()
        await self.hosts.alive.synced.wait()
        await self.shards.run()

    async def _commit(self, shard: int, txn: Txn) -> int:
        return await self._store.commit(self.shards.guard(txn, shard))

    async def _gained(self, shard: int) -> None:
        subject = report(self._cell, shard, "*")
        # Without a queue group, for the same reason as the engine's hints.
        self._reports[shard] = await self.service.serve(
            f"report-{shard}", subject, FromAgent, self._from_agent, queue=""
        )
        await self.engine.gained(shard)

    async def _lost(self, shard: int) -> None:
        endpoint = self._reports.pop(shard, None)
        if endpoint:
            await self.service.withdraw(endpoint)
        await self.engine.lost(shard)

    async def _from_agent(self, message: FromAgent, subject: str) -> ToAgent:
        """The sender is the host that the subject names, on which NATS lets no other agent publish."""
        sender = reporter(subject)
        if message.host != sender:
            raise BadRequest(f"a message on the subject of host {sender} says that it comes from {message.host}")
        if message.report:
            return await self._report(message, message.report)
        if message.progress:
            self.runner.expectations.moved(message.host, message.progress)
        if message.changed:
            return await self.observer.changed(message.host, message.changed)
        if message.beats:
            return await self.hosts.pulse(sender, message.beats)
        if message.hello:
            return await self.hosts.hello(message, message.hello)
        return ToAgent()

    async def _report(self, message: FromAgent, told: Report) -> ToAgent:
        applied = await self.runner.expectations.deliver(message.host, told, SETTLE_SECONDS)
        if applied is not None:
            return ToAgent(applied=applied)
        server = told.mark.server
        operation = await self._store.get(Cell.OPERATIONS(shard_of(server), server))
        if operation and operation.value.generation == told.mark.generation and operation.value.host == message.host:
            self.engine.wake(Wake(server))
            raise Unavailable("the operation is being taken up; say it again")
        kind = operation.value.kind if operation else None
        return ToAgent(applied=kind not in ("boot", "delete") and await self.observer.has_built(message.host, told))

    async def _call(self, question: HostCall, _: str) -> HostCallReply:
        """Relays a read to the host that alone can answer it."""
        if self.hosts.session(question.host) is None:
            raise Conflict(f"host {question.host} is not known in cell {self._cell}")
        subject = host_verb(self._cell, question.host, "call")
        return await self._bus.request(subject, question, HostCallReply, 8.0, self.hosts.release(question.host))


async def run_conductor(settings: Settings, pod: str, health: Health, stopping: asyncio.Event) -> None:
    """Connects to the cell's store and bus and nothing else."""
    async with AsyncExitStack() as stack:
        etcd = Etcd(settings.cell.store)
        stack.push_async_callback(etcd.close)
        bus = await Bus.connect(settings.cell.bus, pod)
        stack.push_async_callback(bus.drain)
        store = Store(etcd, settings.cell.prefix)
        attending = attend_cell(store, bus, pod).run()
        await CellConductor(settings, store, bus, pod).run(health, stopping, attending)
