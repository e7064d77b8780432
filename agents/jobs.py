"""Commands turned into driver calls, one at a time a server, each ended by a report that is repeated until it is
answered."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Literal

import structlog
from attrs import define, evolve

from agents.decide import Adopt, Begin, Job, Memory, Refuse, decide
from agents.drivers.base import Driver
from agents.grant import Grant, Permit, use_permit
from agents.progress import listen_to_progress
from runtime import ambient
from schemas.context import REQUEST_ID
from schemas.errors import GuestNotFound, HostError, KilonovaError, to_wire
from schemas.guest import GuestMark, GuestState
from schemas.messages import Command, CommandReply, JobAtWork, Progress, Report

log = structlog.get_logger()

Send = Callable[[str, Report], Awaitable[bool | None]]
"""(server, report) -> whether the owner applied it, None when it did not answer; it raises nothing."""

Tell = Callable[[Progress], Coroutine[Any, Any, None]]
"""A word of progress to the owner; it may be lost."""

REMEMBERED_SECONDS: Final = 3600.0
"""how long a server's last command is remembered after it ended: longer than any command may be under way"""
PROGRESS_SECONDS: Final = 5.0
"""between two words of progress"""
REPEAT_SECONDS: Final = (0.1, 2.0)
"""between the first and the later repetitions of a report"""
STOP_AGAIN_SECONDS: Final = 1.0
"""between two attempts to stop a guest that must not run any more"""


@define(eq=False)
class _Worker:
    memory: Memory
    command: Command
    commanded: float
    """loop time of its last command"""
    task: asyncio.Task[None] | None = None
    report: Report | None = None
    """of the last job, once it ended; its generation may be raised by an adopting command"""
    sending: asyncio.Task[None] | None = None
    telling: asyncio.Task[None] | None = None
    told: float = 0.0
    """loop time of the last word of progress"""
    ended: float = 0.0
    """loop time at which its report was answered; 0: not yet"""
    own: bool = False
    """of the agent's own accord: nobody waits for a report"""

    def end(self, now: float) -> None:
        """Keeps for the time that it is remembered only what may be asked for again: neither the guest's user data and
        password nor the tasks, whose contexts hold the request that began them."""
        self.ended = now
        self.command = evolve(self.command, spec=None)
        self.task = self.sending = self.telling = None


class Jobs:
    """`grant` says until when guests may be started; `lapse` is called when it has run out."""

    def __init__(
        self,
        driver: Driver,
        session: str,
        send: Send,
        on_result: Callable[[GuestState], None],
        tell: Tell,
        grant: Grant,
    ) -> None:
        self.phase: Literal["registering", "serving"] = "registering"
        self._driver = driver
        self._grant = grant
        self._session = session
        self._send = send
        self._on_result = on_result
        self._tell = tell
        self._workers: dict[str, _Worker] = {}
        self._unacknowledged: set[str] = set()
        """servers whose guest was started by a spawn of this session that the cell has not acknowledged as done"""

    def at_work(self) -> tuple[JobAtWork, ...]:
        """What runs, and what has ended without its report being answered yet."""
        return tuple(
            JobAtWork(server, job.operation, job.step, worker.memory.generation)
            for server, worker in self._workers.items()
            if not worker.ended and not worker.own and (job := worker.memory.job) is not None
        )

    @property
    def running(self) -> frozenset[str]:
        return frozenset(s for s, w in self._workers.items() if w.memory.running)

    def is_busy(self, server: str) -> bool:
        """A job runs, or its report was not answered yet."""
        worker = self._workers.get(server)
        return worker is not None and not worker.ended

    def command(self, command: Command) -> CommandReply:
        """Decides at once; the work goes on in the background."""
        server, now = command.mark.server, asyncio.get_running_loop().time()
        self._forget_old(now)
        worker = self._workers.get(server)
        match decide(worker.memory if worker else Memory(), command, self._session, self.phase):
            case Refuse(reason, stale, generation):
                return CommandReply(reason, stale, generation)
            case Adopt(memory, again):
                assert worker is not None
                worker.memory, worker.command, worker.commanded, worker.ended = memory, command, now, 0.0
                if worker.report is not None:
                    worker.report = evolve(worker.report, mark=command.mark)
                if again:
                    self._report(server, worker)
            case Begin(memory):
                fresh = _Worker(memory, command, now)
                if command.verb not in ("spawn", "destroy"):  # only said of a server whose build is done
                    self._unacknowledged.discard(server)
                self._begin(server, fresh, worker)
        return CommandReply()

    async def remove(self, mark: GuestMark, seen: float) -> None:
        """Ends the server's job and destroys its guest, both as they were listed at loop time `seen`; nothing when
        there was a command since then. A command that comes meanwhile waits for the end."""
        older = self._workers.get(mark.server)
        if older is not None and older.commanded > seen:
            return
        job = Job(mark.operation, "remove", 1)
        generation = max(mark.generation, older.memory.generation if older else 0)
        command = Command("destroy", self._session, mark, job.step)
        worker = _Worker(Memory(generation, job, running=True), command, seen, own=True)
        await asyncio.wait([self._begin(mark.server, worker, older)])

    def lapse(self) -> None:
        """The grant has run out: stops the guests whose spawn was not acknowledged, which may be built elsewhere soon.
        Their spawns begin again, and wait for a grant: unless the cell says that they are strays, they go on then."""
        for server in sorted(self._unacknowledged):
            worker = self._workers[server]
            if worker.command.verb == "spawn" or not worker.memory.running:
                before = [task for task in (worker.sending, worker.task) if task is not None]
                worker.memory = evolve(worker.memory, running=True)
                worker.task = asyncio.create_task(self._stop(server, worker, before), name=f"stop {server}")

    def _begin(self, server: str, fresh: _Worker, older: _Worker | None) -> asyncio.Task[None]:
        self._workers.pop(server, None)
        self._workers[server] = fresh
        fresh.task = asyncio.create_task(self._work(fresh, older), name=f"{fresh.command.verb} {server}")
        return fresh.task

    def touched_since(self, server: str, moment: float) -> bool:
        """Whether a command for it runs or came after this loop time: what was judged before may be wrong now."""
        worker = self._workers.get(server)
        return worker is not None and (worker.memory.running or worker.commanded > moment)

    async def close(self) -> None:
        """Leaves jobs where they are: guests and half-done work are found again by the next session."""
        tasks = [t for w in self._workers.values() for t in (w.task, w.sending, w.telling) if t]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget_old(self, now: float) -> None:
        """Workers are kept in the order of their commands, so the old ones are in front."""
        for server, worker in list(itertools.islice(self._workers.items(), 2)):
            if worker.ended and now - worker.ended > REMEMBERED_SECONDS and server not in self._unacknowledged:
                del self._workers[server]

    async def _stop(self, server: str, worker: _Worker, before: list[asyncio.Task[None]]) -> None:
        """Pulls the plug of a guest that must not run without a grant, then goes on with what was under way."""
        for task in before:
            await _end(task)
        log.warning("guest stopped: its spawn was not acknowledged in the time that the cell granted", instance=server)
        while server in self._unacknowledged:
            try:
                await self._driver.power_off(server, worker.command.mark, 0)
                self._unacknowledged.discard(server)
            except GuestNotFound:
                self._unacknowledged.discard(server)
            except KilonovaError as error:
                log.warning("guest not stopped yet", instance=server, reason=error.message)
                await asyncio.sleep(STOP_AGAIN_SECONDS)
        if worker.command.verb == "spawn" and not worker.ended and (worker.report is None or not worker.report.error):
            worker.report = None
            await self._work(worker, None)
            return
        worker.memory = evolve(worker.memory, running=False)
        if not worker.ended and worker.report is not None:
            self._report(server, worker)

    async def _work(self, worker: _Worker, older: _Worker | None) -> None:
        if older is not None:
            for task in (older.sending, older.task):
                if task is not None:
                    await _end(task)
        server, step, attempt = worker.command.mark.server, worker.command.step, worker.command.attempt
        structlog.contextvars.bind_contextvars(instance=server, operation=worker.command.mark.operation)
        state: GuestState | None = None
        error: dict[str, str] | None = None
        listen_to_progress(lambda note: self._progress(worker, note))
        use_permit(Permit(self._grant, lambda: self._starts(worker)))
        try:
            state = await self._drive(worker.command)
            if worker.command.verb == "destroy":
                self._unacknowledged.discard(server)
        except KilonovaError as failure:
            error = to_wire(failure)
            log.warning("command failed", verb=worker.command.verb, reason=failure.message)
        except Exception as failure:
            error = to_wire(HostError(f"{type(failure).__name__}: {failure}"))
            log.exception("command failed unexpectedly", verb=worker.command.verb)
        worker.memory = evolve(worker.memory, running=False)
        if worker.own:
            worker.end(asyncio.get_running_loop().time())
            return
        mark = worker.command.mark  # an adopting command may have raised it meanwhile
        worker.report = Report(mark, step, attempt, state, **_named(error))
        self._report(server, worker)

    def _starts(self, worker: _Worker) -> None:
        """Its guest is about to run."""
        if worker.command.verb == "spawn":
            self._unacknowledged.add(worker.command.mark.server)

    async def _drive(self, command: Command) -> GuestState | None:
        server, mark, options = command.mark.server, command.mark, command.options
        match command.verb:
            case "spawn":
                if command.spec is None:
                    raise HostError("a spawn command without a guest")
                return await self._driver.spawn(command.spec)
            case "destroy":
                await self._driver.destroy(server)
                return None
            case "power-on":
                return await self._driver.power_on(server, mark)
            case "power-off":
                return await self._driver.power_off(server, mark, float(options.get("timeout", 0)))
            case "reboot":
                hard, timeout = bool(options.get("hard")), float(options.get("timeout", 0))
                return await self._driver.reboot(server, mark, hard, timeout)
            case "pause":
                return await self._driver.pause(server, mark)
            case "unpause":
                return await self._driver.unpause(server, mark)
            case "suspend":
                return await self._driver.suspend(server, mark)
            case "resume":
                return await self._driver.resume(server, mark)

    def _progress(self, worker: _Worker, note: str) -> None:
        now = asyncio.get_running_loop().time()
        if now - worker.told >= PROGRESS_SECONDS and (worker.telling is None or worker.telling.done()):
            worker.told, command = now, worker.command
            told = Progress(command.mark, command.step, command.attempt, note)
            worker.telling = asyncio.create_task(self._tell(told), name=f"progress {command.mark.server}")

    def _report(self, server: str, worker: _Worker) -> None:
        """Says it now, even while an answer is waited for: who asks again may have taken over from a dead one."""
        if worker.sending is not None:
            worker.sending.cancel()
        worker.sending = asyncio.create_task(self._repeat(server, worker), name=f"report {server}")

    async def _repeat(self, server: str, worker: _Worker) -> None:
        pause, longest = REPEAT_SECONDS
        while True:
            report = worker.report
            assert report is not None
            REQUEST_ID.set(report.mark.operation.split("/")[1] if "/" in report.mark.operation else "")
            applied = await self._send(server, report)
            if applied is not None and report == worker.report:
                worker.end(asyncio.get_running_loop().time())
                if applied and not report.error:
                    self._unacknowledged.discard(server)
                if applied and report.state is not None:
                    self._on_result(report.state)
                return
            await asyncio.sleep(pause * (0.5 + ambient.chance()))
            pause = min(pause * 2, longest)


async def _end(task: asyncio.Task[None]) -> None:
    """Cancels it once, so that what it cleans up is not cut short, and returns only when it has ended: whoever is
    cancelled here has another behind him, and one job of a server runs at a time."""
    if not task.cancelling():
        task.cancel()
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError


def _named(error: dict[str, str] | None) -> dict[str, str]:
    return {"error": error["error"], "message": error["message"]} if error else {}
