"""Runs the operations of a cell: one step is one command, its report, one transaction."""

import asyncio
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import structlog
from attrs import define, evolve

from bus.client import Bus
from control.conductor.cell import leave
from control.conductor.cell.commit import transaction
from control.conductor.cell.guests import mark_of, spec_of
from control.conductor.cell.hosts import Hosts
from control.conductor.cell.reports import Expectation, Expectations
from control.conductor.sagas.all import SAGAS
from control.conductor.sagas.table import (
    Advance,
    Decision,
    Failed,
    Finish,
    GiveBack,
    Outcome,
    Outdated,
    Overrun,
    Progressed,
    Saga,
    Step,
    Succeeded,
    abandoned,
    decide,
    step_of,
)
from control.secrets import CellKey, SiteKeyError
from kv.keys import Cell
from kv.shards import Shards
from kv.store import Store
from kv.txn import Stored, Txn
from runtime import ambient
from schemas.context import REQUEST_ID
from schemas.errors import (
    BY_NAME,
    BusUnavailable,
    CompareFailed,
    HypervisorDown,
    KilonovaError,
    NobodyListens,
    StoreUnavailable,
)
from schemas.guest import GuestSpec
from schemas.messages import Command, CommandReply, Report, Wake
from schemas.operation import Line, Operation
from schemas.server import Instance, time_key
from schemas.settings import Settings
from schemas.subjects import host_verb

log = structlog.get_logger()

RESEND_SECONDS: Final = 5.0
"""A command is said again after so long without a report; the agent adopts the job that it has."""
REPLY_SECONDS: Final = 2.0
SILENT_SECONDS: Final = 0.2
"""between looks at a host that has no lease"""
HYPERVISOR_SECONDS: Final = 15.0
"""that a hypervisor which does not answer is asked again: longer than a restart of libvirtd takes"""
RETRY_SECONDS: Final = 1.0
"""before an overrun step is tried once more"""


R = TypeVar("R")


@define(eq=False)
class _AtWork:
    """`operation` as it was read, and the task that carries it out."""

    operation: Stored[Operation]
    task: asyncio.Task[Any]
    doubted: bool = False
    replaced: bool = False
    looking: asyncio.Task[None] | None = None


class Runner:
    def __init__(self, store: Store, bus: Bus, shards: Shards, hosts: Hosts, settings: Settings) -> None:
        self.expectations = Expectations()
        self._store = store
        self._bus = bus
        self._shards = shards
        self._hosts = hosts
        self._site = settings.site
        self._cell = settings.cell.name
        self._key = CellKey.load(settings.cell.key_file) if settings.cell.key_file else None
        self._settings = settings.conductor
        self._raised: dict[str, int] = {}
        """servers whose inherited operation was raised to a new generation, by the fence's create-revision"""
        self._at_work: dict[str, _AtWork] = {}

    def stir(self, server: str, revision: int | None) -> None:
        """The operation that is being carried out may have changed: a delete does not wait for a spawn's end."""
        work = self._at_work.get(server)
        if work is None or revision == work.operation.mod_revision:
            return
        work.doubted = True
        if work.looking is None or work.looking.done():
            work.looking = asyncio.create_task(self._look_again(work), name=f"second look at {server}")

    async def look(self, shard: int, hint: Wake) -> bool:
        """Brings the server's operation one step on; False when it has no more or it waits for the top."""
        server = hint.server
        key = Cell.OPERATIONS(shard, server)
        if not hint.project:
            seen = await self._store.get(key)
            if seen is None:
                return False
            hint = Wake(server, seen.value.created_us, seen.value.project)
        operation, instance, user_data = await self._store.read(
            key, Cell.INSTANCES(hint.project, time_key(hint.created_us, server)), Cell.USER_DATA(server)
        )
        if operation is None or operation.value.step == "returning":
            self._raised.pop(server, None)
            return False
        op = operation.value
        if (op.project, op.created_us) != (hint.project, hint.created_us):  # a hint's word decides nothing
            when = time_key(op.created_us, server)
            instance, user_data = await self._store.read(Cell.INSTANCES(op.project, when), Cell.USER_DATA(server))
        REQUEST_ID.set(op.request_id)
        structlog.contextvars.bind_contextvars(operation=mark_of(self._site, op).operation)
        if instance is None:
            log.error("operation without its server is dropped", kind=op.kind)
            await self._store.commit(self._shards.guard(Txn("drop operation").remove(operation), shard))
            return False
        operation, instance = await self._take_over(shard, operation, instance)
        op = operation.value
        saga = SAGAS[op.kind]
        step = step_of(saga, op)
        spec = None
        if step.with_spec and leave.has_run_out(op, now := ambient.now()):
            if leave.is_awaited(op, now):
                return False  # the top's hint, or the next scan, comes back to it
            if not op.inputs.get("leave_wanted"):
                until = now + timedelta(seconds=step.timeout(self._settings))
                await self._store.commit(self._shards.guard(leave.asking(operation, instance.value, until, now), shard))
                return False
            failure = Failed("ImageUnusable", "no new leave to fetch the image came in time")
            return isinstance(await self._commit(shard, saga, operation, instance, failure), Advance)
        if step.with_spec:
            url = str(op.inputs.get("image_url", ""))
            data = user_data.value.data if user_data else None
            spec = spec_of(mark_of(self._site, op), instance.value, url, data, self._password(instance.value))
        outcome, expectation = await self._unless_changed(operation, self._carry_out(saga, step, op, spec))
        try:
            decision = await self._commit(shard, saga, operation, instance, outcome)
        except BaseException:
            if expectation:
                expectation.settle(False)
            raise
        if expectation:
            expectation.settle(isinstance(outcome, Succeeded | Failed))
        if isinstance(outcome, Failed) and outcome.error == "GuestNotFound" and op.host:
            await self._hosts.demand_inventory(op.host)
        return isinstance(decision, Advance)

    async def give_up(self, shard: int, server: str, failure: str) -> bool:
        """Ends an operation whose deadline has passed while it failed in one way again and again, with the server in
        ERROR where it is: what is on its host is not known. A delete is never given up."""
        operation = await self._store.get(Cell.OPERATIONS(shard, server))
        if operation is None:
            return True
        op, now = operation.value, ambient.now()
        if op.step == "returning" or op.kind == "delete" or now < op.deadline:
            return False
        instance = await self._store.get(Cell.INSTANCES(op.project, time_key(op.created_us, server)))
        if instance is None:
            return False
        decision = abandoned(op, instance.value, failure, now)
        await self._store.commit(self._shards.guard(transaction(decision, operation, instance, now), shard))
        log.error("operation given up", kind=op.kind, step=op.step, reason=failure[:500])
        return True

    def _password(self, server: Instance) -> str | None:
        """What its guest is told. A password that this process has no key for is left out, not fatal."""
        if server.admin_password is None:
            return None
        if self._key is None:
            log.warning("no cell key: the guest is not told its administrator's password", server=server.uuid)
            return None
        try:
            return self._key.decrypt(server.admin_password).decode()
        except SiteKeyError as error:
            log.error("an administrator's password cannot be read", server=server.uuid, reason=error.message)
            return None

    async def _unless_changed(self, operation: Stored[Operation], work: Coroutine[Any, Any, R]) -> R:
        """What the work returns. Raises CompareFailed, with the work cancelled, when its operation is another now."""
        task = asyncio.current_task()
        assert task is not None
        at_work = self._at_work[operation.value.server] = _AtWork(operation, task)
        cancelling = task.cancelling()
        try:
            return await work
        except asyncio.CancelledError:
            if not at_work.replaced or task.cancelling() > cancelling + 1:
                raise
            raise CompareFailed("the operation was replaced while it was carried out") from None
        finally:
            del self._at_work[operation.value.server]
            if at_work.replaced:
                task.uncancel()
            elif at_work.looking is not None:
                at_work.looking.cancel()

    async def _look_again(self, at_work: "_AtWork") -> None:
        """Ends the work, as asyncio's own time-outs do, when its operation is another now."""
        while at_work.doubted:
            at_work.doubted = False
            if await self._has_changed(at_work.operation):
                at_work.replaced = True
                at_work.task.cancel()
                return

    async def _has_changed(self, operation: Stored[Operation]) -> bool:
        try:
            current = await self._store.get(operation.key)
        except StoreUnavailable:
            return False
        except KilonovaError:
            return True  # whoever reads it to go on says what is wrong with it
        return current is None or current.mod_revision != operation.mod_revision

    async def _take_over(
        self, shard: int, operation: Stored[Operation], instance: Stored[Instance]
    ) -> tuple[Stored[Operation], Stored[Instance]]:
        """What another owner may have begun gets a new generation, so that his late commands are refused."""
        fence = self._shards.fences.get(shard)
        if fence is None:
            raise CompareFailed(f"shard {shard} is not ours")
        op, server = operation.value, operation.value.server
        if operation.create_revision > fence.create_revision or self._raised.get(server) == fence.create_revision:
            return operation, instance
        now = ambient.now()
        generation = instance.value.generation + 1
        raised = evolve(op, generation=generation, story=(*op.story, Line(now, f"taken over by {self._shards.pod}")))
        after = evolve(instance.value, generation=generation)
        txn = Txn("take over").replace(operation, raised).replace(instance, after)
        revision = await self._store.commit(self._shards.guard(txn, shard))
        self._raised[server] = fence.create_revision
        return (
            evolve(operation, value=raised, mod_revision=revision),
            evolve(instance, value=after, mod_revision=revision),
        )

    async def _commit(
        self, shard: int, saga: Saga, operation: Stored[Operation], instance: Stored[Instance], outcome: Outcome
    ) -> Decision:
        now = ambient.now()
        decision: Decision = decide(saga, operation.value, instance.value, outcome, now)
        txn = transaction(decision, operation, instance, now)
        host = operation.value.host
        if host is not None and isinstance(outcome, Failed) and outcome.host_down:
            txn.absent(Cell.ALIVE(host))
        if saga.kind == "boot" and host is not None and isinstance(decision, Finish | GiveBack):
            self._hosts.count_build(txn, host, failed=isinstance(decision, GiveBack))
        await self._store.commit(self._shards.guard(txn, shard))
        log.info("operation step", kind=saga.kind, step=operation.value.step, then=type(decision).__name__)
        return decision

    async def _carry_out(
        self, saga: Saga, step: Step, op: Operation, spec: GuestSpec | None
    ) -> tuple[Outcome, Expectation | None]:
        """Commands the host until it reports, is down, or time is up."""
        if op.host is None:
            return Succeeded(None), None
        time = timedelta(seconds=step.timeout(self._settings))
        until = ambient.now() + time
        if step is saga.step and saga.kind == "boot":
            until = max(ambient.now() + timedelta(seconds=1), min(until, op.deadline))
        attempt = op.tries + 1
        silent: datetime | None = None
        while True:
            wanted = (op.host, op.server, op.generation, step.name, attempt)
            expectation = self.expectations.expect(wanted)
            try:
                answer = await self._ask(step, op, spec, attempt, expectation, until)
                no_hypervisor = isinstance(answer, Failed) and answer.error == HypervisorDown.__name__
                silent = (silent or ambient.now()) if no_hypervisor and not step.persistent else None
                again = min(until, silent + timedelta(seconds=HYPERVISOR_SECONDS)) if silent else until
                if isinstance(answer, Failed) and _may_retry(step, answer) and ambient.now() < again:
                    attempt += 1
                    expectation.settle(True)
                    await asyncio.sleep(min(0.5 * 2 ** (attempt - op.tries), 10))
                    continue
                outcome = answer or _in_vain(step, op, attempt, expectation.moved, time)
                if isinstance(outcome, Overrun) and not op.tries:
                    await asyncio.sleep(RETRY_SECONDS)
            except BaseException:
                expectation.settle(False)
                raise
            finally:
                self.expectations.forget(wanted)
            return outcome, expectation

    async def _ask(
        self, step: Step, op: Operation, spec: GuestSpec | None, attempt: int, expectation: Expectation, until: datetime
    ) -> Succeeded | Failed | Outdated | None:
        """None: time is up."""
        host = op.host
        assert host is not None
        subject = host_verb(self._cell, host, "command")
        pause = 0.02
        accepted = ""
        while ambient.now() < until:
            session = self._hosts.session(host)
            if session is None or not self._hosts.is_alive(host):
                waits = accepted == session and not step.granted
                if not waits and await self._hosts.is_down(host):
                    return Failed("HypervisorDown", f"host {host} is down", host_down=True)
                if (await asyncio.wait([expectation.report], timeout=SILENT_SECONDS))[0]:
                    return _outcome(expectation.report.result())
                continue
            command = Command(
                verb=step.verb,
                session=session,
                mark=mark_of(self._site, op),
                step=step.name,
                attempt=attempt,
                spec=spec,
                options=dict(step.options(op, self._settings)),
            )
            try:
                release = self._hosts.release(host)
                reply = await self._bus.request(subject, command, CommandReply, REPLY_SECONDS, release)
            except (NobodyListens, BusUnavailable):
                pause = min(pause * 2, 1.0)
                await asyncio.sleep(pause)
                continue
            if reply.refusal:
                log.info("command refused", host=host, reason=reply.refusal)
                if reply.stale and reply.generation:
                    return Outdated(reply.generation)
                pause = min(pause * 2, 1.0)
                await asyncio.sleep(pause)
                continue
            accepted = session
            seconds = min(RESEND_SECONDS, (until - ambient.now()).total_seconds())
            report = await self._wait(expectation, host, session, seconds)
            if report is not None:
                return _outcome(report)
        return None

    async def _wait(self, expectation: Expectation, host: str, session: str, seconds: float) -> Report | None:
        """None: say the command again, since time is up or the agent that took it is no more."""
        either: list[asyncio.Future[Any]] = [expectation.report, self._hosts.end_of(host, session)]
        await asyncio.wait(either, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED)
        return expectation.report.result() if expectation.report.done() else None


def _outcome(report: Report) -> Succeeded | Failed:
    return Failed(report.error, report.message) if report.error else Succeeded(report.state)


def _may_retry(step: Step, failure: Failed) -> bool:
    known = BY_NAME.get(failure.error)
    return not failure.host_down and (step.persistent or (known is not None and known.retryable))


def _in_vain(step: Step, op: Operation, attempt: int, moved: datetime | None, time: timedelta) -> Progressed | Overrun:
    """Time is up: a job that came further lately has its time from then on."""
    now = ambient.now()
    if moved is not None and moved + time > now:
        return Progressed(attempt, moved + time)
    return Overrun(attempt, now + time, f"host {op.host} did not finish {step.name} in time")
