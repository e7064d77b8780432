"""Commands turned into driver calls, one at a time a server, each ended by a report that is repeated until it is
answered."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Literal

import structlog
from attrs import define, evolve

from agents.decide import Adopt, Begin, Memory, Refuse, decide
from agents.drivers.base import Driver
from agents.progress import listen_to_progress
from runtime import ambient
from schemas.context import REQUEST_ID
from schemas.errors import HostError, KilonovaError, to_wire
from schemas.guest import GuestState
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


class Jobs:
    def __init__(
        self, driver: Driver, session: str, send: Send, on_result: Callable[[GuestState], None], tell: Tell
    ) -> None:
        self.phase: Literal["registering", "serving"] = "registering"
        self._driver = driver
        self._session = session
        self._send = send
        self._on_result = on_result
        self._tell = tell
        self._workers: dict[str, _Worker] = {}

    def at_work(self) -> tuple[JobAtWork, ...]:
        """What runs, and what has ended without its report being answered yet."""
        return tuple(
            JobAtWork(server, job.operation, job.step, worker.memory.generation)
            for server, worker in self._workers.items()
            if not worker.ended and (job := worker.memory.job) is not None
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
            case Refuse(reason, stale):
                return CommandReply(refusal=reason, stale=stale)
            case Adopt(memory, again):
                assert worker is not None
                worker.memory, worker.command, worker.commanded, worker.ended = memory, command, now, 0.0
                if worker.report is not None:
                    worker.report = evolve(worker.report, mark=command.mark)
                if again:
                    self._report(server, worker)
            case Begin(memory):
                fresh = _Worker(memory, command, now)
                self._workers.pop(server, None)
                self._workers[server] = fresh
                fresh.task = asyncio.create_task(self._work(fresh, worker), name=f"{command.verb} {server}")
        return CommandReply()

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
            if worker.ended and now - worker.ended > REMEMBERED_SECONDS:
                del self._workers[server]

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
        try:
            state = await self._drive(worker.command)
        except KilonovaError as failure:
            error = to_wire(failure)
            log.warning("command failed", verb=worker.command.verb, reason=failure.message)
        except Exception as failure:
            error = to_wire(HostError(f"{type(failure).__name__}: {failure}"))
            log.exception("command failed unexpectedly", verb=worker.command.verb)
        worker.memory = evolve(worker.memory, running=False)
        mark = worker.command.mark  # an adopting command may have raised it meanwhile
        worker.report = Report(mark, step, attempt, state, **_named(error))
        self._report(server, worker)

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
                worker.ended = asyncio.get_running_loop().time()
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
