"""One pulse for all agents of a process: grouped by shard, only of those that are registered."""

import asyncio
from typing import Any

from attrs import define, field
from substrate import eventually

from agents.crew import Crew
from agents.grant import Grant
from schemas.errors import BusUnavailable
from schemas.messages import Beat, FromAgent, ToAgent
from schemas.shards import shard_of


@define(eq=False)
class Member:
    host: str
    session: str = "s"
    registered: bool = True
    told: list[str] = field(factory=list)
    hypervisor: str = ""
    grant: Grant = field(factory=Grant)

    def lost(self) -> None:
        self.registered = False
        self.told.append("lost")

    def heard_again(self) -> None:
        self.told.append("heard again")


@define(eq=False)
class Owners:
    """Of all shards; `down` ones do not answer, `unknown` hosts are not known to them."""

    heard: list[FromAgent] = field(factory=list)
    unknown: set[str] = field(factory=set)
    down: bool = False
    granted: float = 0.0
    seconds: float = 0.0
    """that an answer takes"""

    async def request(self, subject: str, message: FromAgent, answer: Any, timeout: float) -> ToAgent:
        if self.down:
            raise BusUnavailable("no answer")
        assert subject.split(".")[3] == str(shard_of(message.beats[0].host))
        assert subject.rsplit(".", 1)[1] == message.host
        self.heard.append(message)
        await asyncio.sleep(self.seconds)
        unknown = tuple(b.host for b in message.beats if b.host in self.unknown)
        return ToAgent(unknown=unknown, granted=self.granted)


async def test_a_thousand_hosts_are_said_to_live_in_few_messages() -> None:
    owners, members = Owners(), [Member(f"h{n}") for n in range(1000)]
    crew = Crew(owners, "cell1", 0.05)  # type: ignore[arg-type]
    for member in members:
        crew.join(member)
    members[7].registered = False
    gone = members.pop()
    crew.leave(gone)
    owners.unknown.add("h3")
    running = asyncio.create_task(crew.run())
    await eventually(lambda: members[3].told)
    silent = {"h7", gone.host}
    await eventually(lambda: len({b.host for m in owners.heard for b in m.beats}) == 1000 - len(silent))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert members[3].told == ["lost"]
    assert not any(m.told for m in members if m is not members[3])
    for message in owners.heard:
        assert len({shard_of(beat.host) for beat in message.beats}) == 1
        assert message.host == "h0"
        assert Beat("h0", "s") in message.beats or shard_of("h0") != shard_of(message.beats[0].host)
        assert not silent & {beat.host for beat in message.beats}


async def test_after_a_silence_they_are_told_once() -> None:
    owners, member = Owners(down=True), Member("h1")
    crew = Crew(owners, "cell1", 0.01)  # type: ignore[arg-type]
    crew.join(member)
    running = asyncio.create_task(crew.run())
    await asyncio.sleep(0.05)
    assert member.told == []
    owners.down = False
    await eventually(lambda: len(owners.heard) > 3)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert member.told == ["heard again"]


async def test_a_heartbeats_answer_grants_time_from_when_it_was_sent() -> None:
    """Counted from the answer's arrival, an answer that took long would let a host start guests after its lease had
    expired, when they may be built elsewhere."""
    owners = Owners(granted=10.0, seconds=0.3, unknown={"h2"})
    members = [Member("h1"), Member("h2")]
    crew = Crew(owners, "cell1", 1.0)  # type: ignore[arg-type]
    for member in members:
        crew.join(member)
    loop = asyncio.get_running_loop()
    began = loop.time()
    running = asyncio.create_task(crew.run())
    await eventually(lambda: members[0].grant.valid and members[1].told)
    took = loop.time() - began
    assert took >= 0.3
    assert members[0].grant.until <= began + took - 0.3 + 10.0
    assert not members[1].grant.valid
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_heartbeat_says_that_the_hypervisor_does_not_answer() -> None:
    owners = Owners()
    crew = Crew(owners, "cell1", 0.01)  # type: ignore[arg-type]
    crew.join(Member("h1", hypervisor="libvirtd is gone"))
    running = asyncio.create_task(crew.run())
    await eventually(lambda: owners.heard)
    assert owners.heard[0].beats == (Beat("h1", "s", "libvirtd is gone"),)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
