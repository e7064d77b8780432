"""The inventory: all guests and jobs of the host told to the cell, and what follows where its records disagree."""

import asyncio
from typing import Literal

import structlog
from attrs import evolve

from agents.changes import Changes
from agents.drivers.base import Driver
from agents.jobs import Jobs
from agents.voice import Voice
from schemas.errors import KilonovaError
from schemas.guest import GuestState, PowerState
from schemas.messages import Hello, Stray, ToAgent

log = structlog.get_logger()


class Inventory:
    """`hello` is what each of its messages has in common. `site` is whose guests are ours."""

    def __init__(self, site: str, hello: Hello, driver: Driver, jobs: Jobs, changes: Changes, voice: Voice) -> None:
        self._site = site
        self._hello = hello
        self._driver = driver
        self._jobs = jobs
        self._changes = changes
        self._voice = voice
        self._suspects: frozenset[Stray] = frozenset()
        self.doubts = False
        """the last one left something that a second look has to confirm"""

    async def tell(self, kind: Literal["start", "inventory"]) -> ToAgent:
        """Raises what the driver or the bus raises; the answer may be a refusal."""
        asked = asyncio.get_running_loop().time()
        jobs = self._jobs.at_work()  # before the guests: a job that ends meanwhile has its guest among them
        facts = await self._driver.facts()
        guests = tuple(await self._driver.guests())
        hello = evolve(self._hello, kind=kind, facts=facts, guests=guests, jobs=jobs)
        answer = await self._voice.hello(hello)
        if answer.refusal or answer.unknown_session:
            return answer
        self._changes.keep({guest.server for guest in guests})
        for guest in guests:
            if guest.mark and guest.mark.site == self._site:
                self._changes.note(guest)
        for stray in answer.strays:
            if stray in self._suspects:
                await self._remove(stray, guests, asked)
        for server in answer.missing:
            if not self._jobs.touched_since(server, asked):
                self._changes.note(GuestState(server, PowerState.NOSTATE))
        self._suspects = frozenset(answer.strays) - self._suspects
        self.doubts = bool(self._suspects or answer.missing)
        return answer

    async def _remove(self, stray: Stray, guests: tuple[GuestState, ...], asked: float) -> None:
        """Only a guest that is as it was judged, with no command for it since the guests were listed. The generation
        in its mark may be older than the last command's: a takeover raises that without touching the domain."""
        judged = any(g.server == stray.server and g.mark and g.mark.generation == stray.generation for g in guests)
        if not judged or self._jobs.touched_since(stray.server, asked):
            return
        log.warning("stray guest removed", instance=stray.server, generation=stray.generation)
        try:
            await self._driver.destroy(stray.server)
        except KilonovaError as error:
            log.warning("stray guest not removed", instance=stray.server, reason=error.message)
