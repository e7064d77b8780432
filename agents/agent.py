"""One host's agent: a session on the bus around a driver."""

import asyncio
from typing import Any, Final

import structlog

from agents.changes import Changes
from agents.crew import Crew
from agents.drivers.base import Driver
from agents.grant import Grant
from agents.inventory import Inventory
from agents.jobs import Jobs
from agents.prefetch import Prefetch
from agents.voice import Voice
from bus.client import Bus
from bus.service import Endpoint, Service
from runtime import ambient
from schemas.codec import RELEASE, from_dict
from schemas.errors import BadRequest, GuestNotFound, KilonovaError, Unavailable, WrongState
from schemas.guest import GuestState, ImageGrant, PowerState
from schemas.messages import Command, CommandReply, Hello, HostCall, HostCallReply, Probe, ProbeReply
from schemas.settings import AgentSettings
from schemas.subjects import host_verb

log = structlog.get_logger()

REFUSED_SECONDS: Final = 5.0
"""until a refused agent asks again: its predecessor's record may have been deleted"""
LONGEST_PAUSE_SECONDS: Final = 5.0
"""before what was not heard is said again"""
SPREAD_SECONDS: Final = 10.0
"""over which the hosts that were cut off tell of themselves when they are heard again"""
SECOND_LOOK_SECONDS: Final = 2.0
"""from what is at odds with the records to the next inventory"""


class Agent:
    """`host` is its name for good, `host_id` its machine's: the same id replaces a session at once, another's agent is
    refused. Commands are heard only from its registration on, so that one that is refused takes none away."""

    def __init__(
        self,
        settings: AgentSettings,
        host: str,
        host_id: str,
        driver: Driver,
        bus: Bus,
        service: Service,
        crew: Crew | None = None,
    ) -> None:
        """With a `crew`, somebody else runs it."""
        self.host = host
        self.registered = False
        self.refusal = ""
        """why the cell does not want it"""
        self.refusals = 0
        self._settings = settings
        self._host_id = host_id
        self.session = ambient.new_uuid().replace("-", "")
        self._driver = driver
        self._service = service
        self._voice = Voice(bus, settings.cell, host, self.session)
        self.grant = Grant()
        self._jobs = Jobs(
            driver,
            self.session,
            self._voice.report,
            lambda state: self._changes.known(state),
            self._voice.progress,
            self.grant,
        )
        self._prefetch = Prefetch(driver)
        self._changes = Changes(self._voice.changed, self._jobs.is_busy)
        self._crew = crew or Crew(bus, settings.cell, settings.heartbeat_seconds)
        self._runs_crew = crew is None
        hello = Hello(
            "inventory",
            host_id,
            RELEASE,
            resume_guests=settings.resume_guests_state_on_host_boot,
            speaker=self._crew.speaker_of(host),
        )
        self._inventory = Inventory(settings.site, hello, driver, self._jobs, self._changes, self._voice, self.grant)
        self._look = asyncio.Event()
        """an inventory is asked for"""
        self._rounds = 0
        """comparisons of this registration that found strays"""
        self._endpoints: list[Endpoint[Any]] = []

    @property
    def hypervisor(self) -> str:
        return self._driver.down

    async def run(self) -> None:
        """Registers, then serves until cancelled. Raises what the driver raises when it cannot start at all."""
        await self._driver.start(self._seen)
        self._crew.join(self)
        try:
            await self._serve("probe", Probe, self._probe)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._stay_registered())
                group.create_task(self._changes.run())
                group.create_task(self._watch_grant())
                if self._runs_crew:
                    group.create_task(self._crew.run())
        finally:
            self._crew.leave(self)
            for endpoint in self._endpoints:
                await self._service.withdraw(endpoint)
            await self._prefetch.close()
            await self._jobs.close()
            await self._driver.close()

    def _seen(self, state: GuestState) -> None:
        self._changes.note(state)
        if state.power_state == PowerState.NOSTATE or state.halted:
            self._look_soon()  # the host's facts may tell of it too

    def _look_soon(self) -> None:
        """In a moment: what is under way, such as the report of a job, is then known to the records."""
        asyncio.get_running_loop().call_later(SECOND_LOOK_SECONDS, self._look.set)

    async def _serve(self, verb: str, takes: type[Any], function: Any) -> None:
        """Without a queue group: of two agents with one name none may take the other's messages away."""
        subject = host_verb(self._settings.cell, self.host, verb)
        self._endpoints.append(await self._service.serve(f"{self.host}-{verb}", subject, takes, function, queue=""))

    async def _watch_grant(self) -> None:
        while True:
            await self.grant.wait()
            await self.grant.expired()
            log.warning("nothing may be started: the cell does not answer", host=self.host)
            self._jobs.lapse()

    def lost(self) -> None:
        self.registered = False
        self._look.set()

    def heard_again(self) -> None:
        spread = min(self._settings.inventory_seconds, SPREAD_SECONDS) * ambient.chance()
        asyncio.get_running_loop().call_later(spread, self._look.set)

    async def _stay_registered(self) -> None:
        """... and told of its guests."""
        pause = 0.1
        while True:
            try:
                async with self._crew.room:
                    rest = await self._take_stock()
                pause = 0.1
            except KilonovaError as error:
                log.warning("not heard", host=self.host, reason=error.message)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                await asyncio.sleep(pause * (0.5 + ambient.chance()))
                continue
            await self._rest(rest)

    async def _take_stock(self) -> float:
        """Seconds until the next time."""
        self._look.clear()
        if not self.registered:
            if not await self._register():
                return REFUSED_SECONDS
            if not self.registered:
                self._rounds += 1
                return min(self._rounds * 0.1, LONGEST_PAUSE_SECONDS)
        else:
            self.registered = not (await self._inventory.tell("inventory")).unknown_session
            if not self.registered:
                return 0.0
        if self._inventory.doubts:
            return SECOND_LOOK_SECONDS
        return self._settings.inventory_seconds * (0.9 + ambient.chance() * 0.2)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._look.wait()
        except TimeoutError:
            return

    async def _register(self) -> bool:
        """False: refused. Before the cell lets it work, and before the first command is heard, all is gone that is not
        this host's any more: the cell compares again until it finds nothing."""
        self._jobs.phase = "registering"
        answer = await self._inventory.tell("start")
        self.refusal = answer.refusal or ""
        if self.refusal:
            self.refusals += 1
            log.error("refused", host=self.host, reason=self.refusal)
            return False
        if answer.strays:
            log.warning("not registered yet: guests that are not the host's are removed", count=len(answer.strays))
            return True
        self._rounds = 0
        self._jobs.phase = "serving"
        if len(self._endpoints) == 1:
            await self._serve("command", Command, self._command)
            await self._serve("call", HostCall, self._call)
        self.registered = True
        log.info("registered", host=self.host, session=self.session)
        return True

    async def _command(self, command: Command, _: str) -> CommandReply:
        return self._jobs.command(command)

    async def _probe(self, probe: Probe, _: str) -> ProbeReply | None:
        return ProbeReply(self.session, self._host_id) if probe.session == self.session else None

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
            case "cache-image":
                return HostCallReply(await self._prefetch.ask(from_dict(ImageGrant, question.options["image"])))
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
