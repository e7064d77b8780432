"""One host's agent: a session on the bus around a driver."""

import asyncio
from typing import Any, Final

import structlog

from agents.changes import Changes
from agents.drivers.base import Driver
from agents.inventory import Inventory
from agents.jobs import Jobs
from agents.voice import Voice
from bus.client import Bus
from bus.service import Endpoint, Service
from runtime import ambient
from schemas.codec import RELEASE
from schemas.errors import BadRequest, GuestNotFound, KilonovaError, Unavailable, WrongState
from schemas.guest import GuestState, PowerState
from schemas.messages import Command, CommandReply, Hello, HostCall, HostCallReply, Probe, ProbeReply
from schemas.settings import AgentSettings
from schemas.subjects import host_verb

log = structlog.get_logger()

REFUSED_SECONDS: Final = 5.0
"""until a refused agent asks again: its predecessor's record may have been deleted"""
SECOND_LOOK_SECONDS: Final = 2.0
"""from what is at odds with the records to the next inventory"""


class Agent:
    """`host` is its name for good, `host_id` its machine's: the same id replaces a session at once, another's agent is
    refused. Commands are heard only from its registration on, so that one that is refused takes none away."""

    def __init__(
        self, settings: AgentSettings, host: str, host_id: str, driver: Driver, bus: Bus, service: Service
    ) -> None:
        self.host = host
        self.registered = False
        self.refusal = ""
        """why the cell does not want it"""
        self.refusals = 0
        self._settings = settings
        self._host_id = host_id
        self._session = ambient.new_uuid().replace("-", "")
        self._driver = driver
        self._service = service
        self._voice = Voice(bus, settings.cell, host, self._session)
        self._jobs = Jobs(
            driver, self._session, self._voice.report, lambda state: self._changes.known(state), self._voice.progress
        )
        self._changes = Changes(self._voice.changed, self._jobs.is_busy)
        self._hello = Hello("beat", host_id, RELEASE, resume_guests=settings.resume_guests_state_on_host_boot)
        self._inventory = Inventory(settings.site, self._hello, driver, self._jobs, self._changes, self._voice)
        self._look = asyncio.Event()
        """an inventory is asked for"""
        self._endpoints: list[Endpoint[Any]] = []

    async def run(self) -> None:
        """Registers, then serves until cancelled. Raises what the driver raises when it cannot start at all."""
        await self._driver.start(self._seen)
        try:
            await self._serve("probe", Probe, self._probe)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._stay_registered())
                group.create_task(self._changes.run())
        finally:
            for endpoint in self._endpoints:
                await self._service.withdraw(endpoint)
            await self._jobs.close()
            await self._driver.close()

    def _seen(self, state: GuestState) -> None:
        self._changes.note(state)
        if state.power_state == PowerState.NOSTATE:
            self._look_soon()

    def _look_soon(self) -> None:
        """In a moment: what is under way, such as the report of a job, is then known to the records."""
        asyncio.get_running_loop().call_later(SECOND_LOOK_SECONDS, self._look.set)

    async def _serve(self, verb: str, takes: type[Any], function: Any) -> None:
        """Without a queue group: of two agents with one name none may take the other's messages away."""
        subject = host_verb(self._settings.cell, self.host, verb)
        self._endpoints.append(await self._service.serve(f"{self.host}-{verb}", subject, takes, function, queue=""))

    async def _stay_registered(self) -> None:
        beat, every = self._settings.heartbeat_seconds, self._settings.inventory_seconds
        loop = asyncio.get_running_loop()
        next_inventory = 0.0
        while True:
            try:
                if not self.registered:
                    if not await self._register():
                        await asyncio.sleep(REFUSED_SECONDS)
                        continue
                    next_inventory = loop.time() + every
                elif self._look.is_set() or loop.time() >= next_inventory:
                    self._look.clear()
                    self.registered = not (await self._inventory.tell("inventory")).unknown_session
                    next_inventory = loop.time() + (SECOND_LOOK_SECONDS if self._inventory.doubts else every)
                else:
                    self.registered = not (await self._voice.hello(self._hello)).unknown_session
            except KilonovaError as error:
                log.warning("not heard", host=self.host, reason=error.message)
                next_inventory = 0.0  # who knows what was missed
                await asyncio.sleep(0.2 + ambient.chance() * min(beat, 2.0))
                continue
            if self.registered:
                await self._rest(min(beat * (0.9 + ambient.chance() * 0.2), max(0.1, next_inventory - loop.time())))

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._look.wait()
        except TimeoutError:
            return

    async def _register(self) -> bool:
        """False: refused. Strays of an earlier life are gone before the first command is heard."""
        self._jobs.phase = "registering"
        answer = await self._inventory.tell("start")
        self.refusal = answer.refusal or ""
        if self.refusal:
            self.refusals += 1
            log.error("refused", host=self.host, reason=self.refusal)
            return False
        if self._inventory.doubts:
            await self._inventory.tell("inventory")
        self._jobs.phase = "serving"
        if len(self._endpoints) == 1:
            await self._serve("command", Command, self._command)
            await self._serve("call", HostCall, self._call)
        self.registered = True
        log.info("registered", host=self.host, session=self._session)
        return True

    async def _command(self, command: Command, _: str) -> CommandReply:
        return self._jobs.command(command)

    async def _probe(self, probe: Probe, _: str) -> ProbeReply | None:
        return ProbeReply(self._session, self._host_id) if probe.session == self._session else None

    async def _call(self, question: HostCall, _: str) -> HostCallReply:
        match question.verb:
            case "console-output":
                return HostCallReply(await self._driver.console_output(question.server, question.options.get("lines")))
            case "diagnostics":
                return HostCallReply(diagnostics=await self._driver.diagnostics(question.server))
            case "vnc-console":
                state = await self._driver.guest(question.server)
                if state.vnc is None:
                    raise WrongState(f"Instance {question.server} has no VNC server while it is off")
                return HostCallReply(state.vnc)
            case "guest-state":
                return HostCallReply(state=await self._state(question.server))
            case "inventory":
                self._look_soon()
                return HostCallReply()
        raise BadRequest(f"this agent knows no call {question.verb}")

    async def _state(self, server: str) -> GuestState:
        """How its guest is, with no job that might make it another before its report. Raises Unavailable."""
        asked = asyncio.get_running_loop().time()
        try:
            state = await self._driver.guest(server)
        except GuestNotFound:
            state = GuestState(server, PowerState.NOSTATE)
        if self._jobs.is_busy(server) or self._jobs.touched_since(server, asked):
            raise Unavailable(f"a job is at work on {server}")
        return state
