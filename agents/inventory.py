"""The inventory: all guests and jobs of the host told to the cell, and what follows where its records disagree."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import structlog
from attrs import evolve

from agents.changes import Changes
from agents.drivers.base import Driver
from agents.grant import Grant
from agents.jobs import Jobs
from agents.voice import Voice
from runtime import ambient
from schemas.guest import GuestMark, GuestState, PowerState
from schemas.messages import Hello, Stray, ToAgent

log = structlog.get_logger()

AT_ONCE: Final = 8
"""strays that are removed side by side"""


class Inventory:
    """`hello` is what each of its messages has in common. `site` is whose guests are ours."""

    def __init__(
        self, site: str, hello: Hello, driver: Driver, jobs: Jobs, changes: Changes, voice: Voice, grant: Grant
    ) -> None:
        self._site = site
        self._hello = hello
        self._driver = driver
        self._jobs = jobs
        self._changes = changes
        self._voice = voice
        self._grant = grant
        self._suspects: frozenset[Stray] = frozenset()
        self.doubts = False
        """the last one left something that a second look has to confirm"""

    async def tell(self, kind: Literal["start", "inventory"]) -> ToAgent:
        """Raises what the driver or the bus raises; the answer may be a refusal."""
        loop = asyncio.get_running_loop()
        asked = loop.time()
        jobs = self._jobs.at_work()  # before the guests: a job that ends meanwhile has its guest among them
        facts = await self._driver.facts()
        guests = tuple(await self._driver.guests())
        clock = ambient.now().timestamp()
        hello = evolve(self._hello, kind=kind, facts=facts, guests=guests, jobs=jobs, clock=clock)
        sent = loop.time()
        answer = await self._voice.hello(hello)
        if answer.refusal or answer.unknown_session:
            return answer
        self._changes.keep({guest.server for guest in guests})
        for guest in guests:
            if guest.mark and guest.mark.site == self._site:
                self._changes.note(guest)
        marks = {guest.server: guest.mark for guest in guests if guest.mark}
        marks |= {job.server: GuestMark(self._site, job.server, "", job.generation, job.operation) for job in jobs}
        await self._remove([stray for stray in answer.strays if stray in self._suspects], marks, asked)
        for server in answer.missing:
            if not self._jobs.touched_since(server, asked):
                self._changes.note(GuestState(server, PowerState.NOSTATE))
        self._suspects = frozenset(answer.strays) - self._suspects
        self.doubts = bool(self._suspects or answer.missing)
        self._grant.extend(sent, answer.granted)
        return answer

    async def _remove(self, strays: Sequence[Stray], marks: Mapping[str, GuestMark], asked: float) -> None:
        """Only what is as it was judged, with no command for it since it was listed. The generation in a guest's mark
        may be older than the last command's: a takeover raises that without touching the domain."""
        room = asyncio.Semaphore(AT_ONCE)

        async def remove(mark: GuestMark) -> None:
            async with room:
                log.warning("stray guest removed", instance=mark.server, generation=mark.generation)
                await self._jobs.remove(mark, asked)

        async with asyncio.TaskGroup() as group:
            for stray in strays:
                mark = marks.get(stray.server)
                if mark is not None and mark.generation == stray.generation:
                    group.create_task(remove(mark))
