"""The agents of one process: one heartbeat for all of them, and a bounded number that register or take stock at a time.

A process of thousands of simulated hosts then says in a few messages a second that all of them are alive, and does not
overrun the conductors when all of them start at once. The heartbeats of all are sent in the name of one, the speaker,
whom each of them names when it registers: the cell believes no other host of them.
"""

import asyncio
from collections import defaultdict
from typing import Final, Protocol

import structlog

from agents.grant import Grant
from bus.client import Bus
from runtime import ambient
from schemas.errors import KilonovaError
from schemas.messages import Beat, FromAgent, ToAgent
from schemas.shards import shard_of
from schemas.subjects import report

log = structlog.get_logger()

AT_ONCE: Final = 16
ANSWER_SECONDS: Final = 3.0


class Member(Protocol):
    host: str
    session: str
    registered: bool
    grant: Grant

    @property
    def hypervisor(self) -> str:
        """Why its hypervisor does not answer; empty: it does."""

    def lost(self) -> None:
        """Its session is not known any more."""

    def heard_again(self) -> None:
        """After a silence, in which anything may have been missed."""


class Crew:
    def __init__(self, bus: Bus, cell: str, beat_seconds: float) -> None:
        self.room = asyncio.Semaphore(AT_ONCE)
        self._bus = bus
        self._cell = cell
        self._every = beat_seconds
        self._members: defaultdict[int, list[Member]] = defaultdict(list)
        """by the shard of their host"""
        self._unheard: set[int] = set()
        """shards whose owner did not answer last time"""
        self.speaker = ""
        """the host in whose name the heartbeats of all are sent, which each of them tells the cell"""

    def speaker_of(self, host: str) -> str:
        """The first host that asks speaks for all of the process."""
        self.speaker = self.speaker or host
        return self.speaker

    def join(self, member: Member) -> None:
        self.speaker_of(member.host)
        self._members[shard_of(member.host)].append(member)

    def leave(self, member: Member) -> None:
        self._members[shard_of(member.host)].remove(member)

    async def run(self) -> None:
        """The pulse, spread over its time so that it is never a burst."""
        loop = asyncio.get_running_loop()
        while True:
            until = loop.time() + self._every * (0.9 + ambient.chance() * 0.2)
            shards = sorted(self._members)
            async with asyncio.TaskGroup() as group:
                for n, shard in enumerate(shards):
                    group.create_task(self._beat(shard, self._every * 0.8 * n / len(shards)), name=f"pulse {shard}")
            await asyncio.sleep(max(0.0, until - loop.time()))

    async def _beat(self, shard: int, after: float) -> None:
        await asyncio.sleep(after)
        members = {member.host: member for member in self._members[shard] if member.registered}
        if not members:
            return
        beats = tuple(Beat(member.host, member.session, member.hypervisor) for member in members.values())
        message = FromAgent(self.speaker, "", beats=beats)
        sent = asyncio.get_running_loop().time()
        try:
            subject = report(self._cell, shard, self.speaker)
            answer = await self._bus.request(subject, message, ToAgent, ANSWER_SECONDS)
        except KilonovaError as error:
            log.warning("not heard", host=self.speaker, hosts=len(members), reason=error.message)
            self._unheard.add(shard)
            return
        for host in answer.unknown:
            if host in members:
                members.pop(host).lost()
        for member in members.values():
            member.grant.extend(sent, answer.granted)
        if shard in self._unheard:
            self._unheard.discard(shard)
            for member in members.values():
                member.heard_again()
