"""One host's agent: a session on the bus around a driver."""

import asyncio
from typing import Final

import structlog

from agents.drivers.base import Driver
from agents.jobs import Jobs
from bus.client import Bus
from bus.service import Endpoint, Service
from runtime import ambient
from schemas.codec import RELEASE
from schemas.errors import KilonovaError, WrongState
from schemas.guest import GuestState
from schemas.messages import (
    Changed,
    Command,
    CommandReply,
    FromAgent,
    Hello,
    HostCall,
    HostCallReply,
    Probe,
    ProbeReply,
    Report,
    Stray,
    ToAgent,
)
from schemas.settings import AgentSettings
from schemas.shards import shard_of
from schemas.subjects import host_verb, report

log = structlog.get_logger()

ANSWER_SECONDS: Final = 5.0


class Agent:
    """`host` is its name for good, `host_id` its machine's: the same id replaces a session at once."""

    def __init__(
        self, settings: AgentSettings, host: str, host_id: str, driver: Driver, bus: Bus, service: Service
    ) -> None:
        self.host = host
        self.registered = False
        self._settings = settings
        self._host_id = host_id
        self._session = ambient.new_uuid().replace("-", "")
        self._driver = driver
        self._bus = bus
        self._service = service
        self._jobs = Jobs(driver, self._session, self._send_report, self._result_known)
        self._endpoints: list[Endpoint[Command] | Endpoint[Probe] | Endpoint[HostCall]] = []
        self._changes: dict[str, GuestState] = {}
        self._told: dict[str, GuestState] = {}
        """what the records know of each guest"""
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Registers, then serves until cancelled. Raises what the driver raises when it cannot start at all."""
        await self._driver.start(self._guest_changed)
        try:
            await self._serve()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._stay_registered())
                group.create_task(self._tell_changes())
        finally:
            await self._leave()

    async def _serve(self) -> None:
        cell, host = self._settings.cell, self.host
        serve = self._service.serve
        self._endpoints = [
            await serve(f"{host}-command", host_verb(cell, host, "command"), Command, self._command),
            await serve(f"{host}-probe", host_verb(cell, host, "probe"), Probe, self._probe),
            await serve(f"{host}-console", host_verb(cell, host, "console-output"), HostCall, self._console),
            await serve(f"{host}-diagnostics", host_verb(cell, host, "diagnostics"), HostCall, self._diagnostics),
            await serve(f"{host}-vnc", host_verb(cell, host, "vnc-console"), HostCall, self._vnc),
        ]

    async def _leave(self) -> None:
        for endpoint in self._endpoints:
            await self._service.withdraw(endpoint)
        await self._jobs.close()
        await self._driver.close()

    async def _stay_registered(self) -> None:
        beat, every = self._settings.heartbeat_seconds, self._settings.inventory_seconds
        next_inventory = 0.0
        loop = asyncio.get_running_loop()
        while True:
            try:
                if not self.registered:
                    await self._register()
                    next_inventory = loop.time() + every
                elif loop.time() >= next_inventory:
                    await self._inventory("inventory")
                    next_inventory = loop.time() + every
                else:
                    answer = await self._say(Hello("beat", self._host_id))
                    self.registered = not answer.unknown_session
                    if not self.registered:
                        continue
            except KilonovaError as error:
                log.warning("not heard", host=self.host, reason=error.message)
                await asyncio.sleep(0.2 + ambient.chance() * min(beat, 2.0))
                continue
            await asyncio.sleep(beat * (0.9 + ambient.chance() * 0.2))

    async def _register(self) -> None:
        self._jobs.phase = "registering" if not self._jobs.running else self._jobs.phase
        answer = await self._inventory("start")
        if answer.refusal:
            log.error("refused", host=self.host, reason=answer.refusal)
            await asyncio.sleep(5)
            return
        self.registered = True
        self._jobs.phase = "serving"
        log.info("registered", host=self.host, session=self._session)

    async def _inventory(self, kind: str) -> ToAgent:
        """Tells facts and guests; removes what the records do not place here; tells of each guest's state."""
        asked = asyncio.get_running_loop().time()
        facts = await self._driver.facts()
        guests = tuple(await self._driver.guests())
        here = {guest.server for guest in guests}
        self._told = {server: state for server, state in self._told.items() if server in here}
        hello = Hello("start" if kind == "start" else "inventory", self._host_id, RELEASE, facts, guests)
        answer = await self._say(hello)
        for stray in answer.strays:
            await self._remove_stray(stray, guests, asked)
        for guest in guests:
            if guest.mark and guest.mark.site == self._settings.site:
                self._guest_changed(guest)
        return answer

    async def _remove_stray(self, stray: Stray, guests: tuple[GuestState, ...], asked: float) -> None:
        """Only a guest that is as it was judged, with no command for it since the guests were listed. The generation
        in its mark may be older than the last command's: a takeover raises that without touching the domain."""
        judged = any(g.server == stray.server and g.mark and g.mark.generation == stray.generation for g in guests)
        if not judged or self._jobs.touched_since(stray.server, asked):
            return
        log.warning("stray guest removed", host=self.host, instance=stray.server, generation=stray.generation)
        try:
            await self._driver.destroy(stray.server)
        except KilonovaError as error:
            log.warning("stray guest not removed", instance=stray.server, reason=error.message)

    async def _say(self, hello: Hello) -> ToAgent:
        message = FromAgent(self.host, self._session, hello=hello)
        subject = report(self._settings.cell, shard_of(self.host), self.host)
        return await self._bus.request(subject, message, ToAgent, ANSWER_SECONDS)

    async def _send_report(self, server: str, told: Report) -> bool | None:
        message = FromAgent(self.host, self._session, report=told)
        subject = report(self._settings.cell, shard_of(server), self.host)
        try:
            return (await self._bus.request(subject, message, ToAgent, ANSWER_SECONDS)).applied
        except KilonovaError as error:
            log.info("report to be repeated", instance=server, reason=error.message)
            return None

    def _guest_changed(self, state: GuestState) -> None:
        self._changes[state.server] = state
        self._news.set()

    def _result_known(self, state: GuestState) -> None:
        """A job's report, which was applied, says this: the driver's word of the same need not be told again."""
        self._told[state.server] = state

    async def _tell_changes(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            waiting, self._changes = self._changes, {}
            for server, state in waiting.items():
                if self._told.get(server) == state:
                    continue
                if not self._jobs.is_busy(server) and await self._tell(server, state):
                    self._told[server] = state
                else:
                    self._changes.setdefault(server, state)
            if self._changes:
                await asyncio.sleep(1.0)
                self._news.set()

    async def _tell(self, server: str, state: GuestState) -> bool:
        message = FromAgent(self.host, self._session, changed=Changed(state))
        subject = report(self._settings.cell, shard_of(server), self.host)
        try:
            return (await self._bus.request(subject, message, ToAgent, ANSWER_SECONDS)).applied
        except KilonovaError:
            return False

    async def _command(self, command: Command, _: str) -> CommandReply:
        return self._jobs.command(command)

    async def _probe(self, _: Probe, __: str) -> ProbeReply:
        return ProbeReply(self._session, self._host_id)

    async def _console(self, question: HostCall, _: str) -> HostCallReply:
        return HostCallReply(await self._driver.console_output(question.server, question.options.get("lines")))

    async def _diagnostics(self, question: HostCall, _: str) -> HostCallReply:
        return HostCallReply(diagnostics=await self._driver.diagnostics(question.server))

    async def _vnc(self, question: HostCall, _: str) -> HostCallReply:
        state = await self._driver.guest(question.server)
        if state.vnc is None:
            raise WrongState(f"Instance {question.server} has no VNC server while it is off")
        return HostCallReply(state.vnc)
