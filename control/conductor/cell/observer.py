"""Hears what hosts see, asks back, and writes what the pure plans make of it."""

from collections.abc import Callable
from typing import Final

import structlog

from bus.client import Bus
from control.conductor.cell.initiative import begun, noted
from control.conductor.cell.metrics import FOREIGN
from control.conductor.cell.reconcile import AT_ONCE, Records, doubts, judge, observed, to_resume
from kv.keys import Cell
from kv.shards import Shards
from kv.store import Store
from kv.txn import Stored
from runtime import ambient
from schemas.errors import CompareFailed
from schemas.guest import GuestState
from schemas.messages import Changed, Hello, HostCall, HostCallReply, Report, ToAgent, Wake
from schemas.operation import Operation
from schemas.server import HostedServer, Instance, time_key
from schemas.settings import Settings
from schemas.shards import shard_of
from schemas.subjects import cell_wake, host_verb

log = structlog.get_logger()

ASK_SECONDS: Final = 3.0


class Observer:
    """`wake` starts an operation of an own shard; `release` is that of the messages which a host knows."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        shards: Shards,
        settings: Settings,
        wake: Callable[[Wake], None],
        release: Callable[[str], int],
    ) -> None:
        self._store = store
        self._bus = bus
        self._shards = shards
        self._site = settings.site
        self._cell = settings.cell.name
        self._seconds = settings.conductor.command_timeout
        self._wake = wake
        self._release = release
        self._foreign: dict[str, frozenset[str]] = {}

    async def changed(self, host: str, told: Changed) -> ToAgent:
        """A guest changed by itself: its record follows, unless an operation is at work on it. What was told may have
        come late, so the host is asked again after the record was read; the write compares the record."""
        server = told.state.server
        line = await self._store.get(Cell.BY_HOST(host, server))
        if line is None:
            return ToAgent()
        instance, operation = await self._read(server, line.value)
        if instance is None or instance.value.host != host:
            return ToAgent()
        if operation is not None:
            return ToAgent(applied=False)
        if observed(instance.value, told.state, ambient.now()) is None:
            return ToAgent()
        subject = host_verb(self._cell, host, "call")
        question = HostCall(self._cell, host, "guest-state", server)
        answer = await self._bus.request(subject, question, HostCallReply, ASK_SECONDS, self._release(host))
        state = answer.state if answer.state and answer.state.server == server else None
        now = ambient.now()
        found = observed(instance.value, state, now) if state else None
        if found is not None:
            txn = noted(instance, found, f"req-{ambient.new_uuid()}", now, self._seconds)
            await self._store.commit(self._shards.guard(txn, shard_of(server)))
            if found.why:
                log.warning("guest changed", instance=server, host=host, reason=found.why)
            if found.begin:
                self._wake(Wake(server, instance.value.created_us, instance.value.project))
        return ToAgent()

    async def has_built(self, host: str, told: Report) -> bool:
        """Whether the spawn whose end is told is recorded as done: a first report was applied, its answer lost."""
        if told.step != "spawn" or told.error is not None:
            return False
        line = await self._store.get(Cell.BY_HOST(host, told.mark.server))
        if line is None:
            return False
        instance, _ = await self._read(told.mark.server, line.value)
        return (
            instance is not None and instance.value.host == host and instance.value.generation >= told.mark.generation
        )

    async def compare(self, host: str, hello: Hello, *, everything: bool) -> ToAgent:
        """What is wrong on the host or in its servers' records; `everything`: all of its strays, not a bounded number.
        They are read after the guests were listed, and a
        server is recorded before it is spawned, so what is missing there is not to be here."""
        lines = {s.key.path.rsplit("/", 1)[1]: s.value for s in await self._store.range(Cell.BY_HOST.under(host, ""))}
        doubtful = doubts(self._site, hello.guests, hello.jobs, lines.keys())
        self._report(host, frozenset(doubtful.foreign))
        records = {server: await self._records(server, lines.get(server)) for server in doubtful.unplaced}
        records |= {server: await self._records(server, lines.get(server)) for server in doubtful.absent}
        verdict = judge(host, doubtful, records, None if everything else AT_ONCE)
        return ToAgent(strays=verdict.strays, missing=verdict.missing)

    async def resume(self, host: str, guests: tuple[GuestState, ...]) -> None:
        """The host's machine was booted: what ran on it is started again."""
        states = {guest.server: guest for guest in guests}
        for line in await self._store.range(Cell.BY_HOST.under(host, "")):
            server = line.key.path.rsplit("/", 1)[1]
            if server not in states:
                continue
            instance, operation = await self._read(server, line.value)
            if instance is None or operation is not None or not to_resume(instance.value, states[server]):
                continue
            why = f"host {host} was booted: its guest runs again"
            request_id = f"req-{ambient.new_uuid()}"
            txn = begun(instance, "reboot-hard", why, request_id, ambient.now(), self._seconds)
            try:
                await self._store.commit(self._shards.guard(txn, shard_of(host)))
            except CompareFailed:
                continue  # somebody else does something with it
            hint = Wake(server, instance.value.created_us, instance.value.project)
            await self._bus.hint(cell_wake(self._cell, shard_of(server)), hint)

    def _report(self, host: str, foreign: frozenset[str]) -> None:
        """Domains that are not of our making, when there are others than before."""
        if foreign != self._foreign.get(host, frozenset()):
            log.warning("guests that are not ours are left alone", host=host, guests=sorted(foreign))
            self._foreign[host] = foreign
            FOREIGN.labels(host).set(len(foreign))

    async def _records(self, server: str, line: HostedServer | None) -> Records:
        if line is None:
            operation = await self._store.get(Cell.OPERATIONS(shard_of(server), server))
            return Records(None, operation.value if operation else None)
        instance, operation = await self._read(server, line)
        return Records(instance.value if instance else None, operation.value if operation else None)

    async def _read(self, server: str, line: HostedServer) -> tuple[Stored[Instance] | None, Stored[Operation] | None]:
        return await self._store.read(
            Cell.INSTANCES(line.project, time_key(line.created_us, server)),
            Cell.OPERATIONS(shard_of(server), server),
        )
