"""Silence is not death: hosts that are well and only not heard lose nothing, and what is built elsewhere runs once.

The monitor of each story asserts at every instant that no server runs on two hosts.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final
from unittest.mock import patch

import pytest

from control.conductor.cell.guests import mark_of
from control.servers.change import change_server, delete_server
from kv.keys import Cell
from kv.store import Store
from kv.txn import Txn
from schemas.errors import BadRequest
from schemas.guest import PowerState
from schemas.host import Alive
from schemas.messages import Beat, FromAgent, Report, ToAgent, Wake
from schemas.server import Instance
from schemas.shards import shard_of
from schemas.subjects import cell_wake, report
from tests.sim.bus import Broker, SimBus
from tests.sim.scenario import SMALL, TINY, USER, Scenario, play
from tests.sim.site import SETTINGS, Site

CELL: Final = "cell1"
ONE: Final[dict[str, Any]] = {"cells": (CELL,), "hosts": 3}
"""a site of one cell"""
LEASE: Final = SETTINGS.conductor.host_lease_ttl
LONGER: Final = 1.5 * LEASE


def slow(site: Site, **verbs: float | tuple[float, float]) -> None:
    """From now on hosts take so many seconds."""
    for machine in site.machines.values():
        machine.takes.update(verbs)  # type: ignore[arg-type]  # names of verbs


async def given_back(it: Scenario) -> list[str]:
    """Servers whose build has moved on to another attempt."""
    return [uuid for uuid, server in (await it.servers()).items() if server.attempt > 1]


async def host_of(it: Scenario, uuid: str) -> str:
    found: dict[str, Instance] = {}

    async def placed() -> bool:
        found.update(await it.servers())
        return uuid in found and found[uuid].host is not None

    await it.until(placed, 30)
    return str(found[uuid].host)


async def stop(it: Scenario, *uuids: str) -> None:
    for uuid in uuids:
        await it.ask(change_server, USER, uuid, "stop", {})


async def under_way(it: Scenario, during: Callable[[], Awaitable[None]]) -> None:
    """Six servers run; eight boots and three stops are under way when it happens. Nothing of that may suffer."""
    first = await it.create(SMALL, 6)
    assert await it.settled(first, 30) == ["active"] * 6
    slow(it.site, spawn=(14.0, 18.0), power_off=8.0)
    accepted = await it.create(SMALL, 8)
    await asyncio.sleep(1)
    await stop(it, *first[:3])
    await asyncio.sleep(2)
    await during()
    assert await it.settled(accepted, 90) == ["active"] * 8
    assert await given_back(it) == []
    found = await it.servers()
    assert [(found[u].vm_state, found[u].task_state, found[u].fault) for u in first[:3]] == [
        ("stopped", None, None)
    ] * 3
    assert all(it.running_on(u) == [] for u in first[:3])
    assert all(it.running_on(u) == [found[u].host] for u in [*first[3:], *accepted])


def test_a_bus_that_is_away_for_longer_than_a_lease_kills_no_host() -> None:
    """NATS was away for one and a half leases: 8 of 8 builds were given back, 6 of them to end in ERROR, and 4 of 4
    stops that were carried out ended with the fault "host is down"."""

    async def story(it: Scenario) -> None:
        async def away() -> None:
            it.site.places[CELL].broker.down = True
            await asyncio.sleep(LONGER)
            it.site.places[CELL].broker.down = False

        await under_way(it, away)

    play(story, **ONE)


def test_conductors_that_are_cut_off_from_etcd_kill_no_host() -> None:
    """Nobody renewed the hosts' leases, and when the conductors reached etcd again every host counted as down: 6 of 8
    builds were given back, 2 ended in ERROR, and a stop failed that was carried out."""

    async def story(it: Scenario) -> None:
        async def cut() -> None:
            for name in it.site.conductors_of(CELL):
                it.site.cut_store(name, CELL)
            await asyncio.sleep(LONGER)
            for name in it.site.conductors_of(CELL):
                it.site.heal(name)

        await under_way(it, cut)

    play(story, **ONE)


def test_a_frozen_etcd_kills_no_host() -> None:
    """Leases run out by etcd's own clock: thawed, it had dropped those of all hosts."""

    async def story(it: Scenario) -> None:
        async def freeze() -> None:
            with it.site.places[CELL].frozen():
                await asyncio.sleep(LONGER)

        await under_way(it, freeze)

    play(story, **ONE)


def test_a_host_that_is_cut_off_while_it_builds_runs_nothing_that_is_built_elsewhere() -> None:
    """Its agent lost NATS two seconds into a spawn: after a lease the server was built on another host, while the first
    guest started and ran beside it for 110 seconds, until the partition ended."""

    async def story(it: Scenario) -> None:
        slow(it.site, spawn=10.0)
        (server,) = await it.create()
        host = await host_of(it, server)
        await asyncio.sleep(2)
        it.site.cut_bus(f"agent-{host}", CELL)
        assert await it.settled([server], 60) == ["active"]
        found = (await it.servers())[server]
        assert found.host != host
        await asyncio.sleep(60)
        assert it.running_on(server) == [found.host]
        it.site.heal(f"agent-{host}")

        async def clean() -> bool:
            return server not in it.site.machines[host].hypervisor.guests

        await it.until(clean, 30)
        await asyncio.sleep(20)
        assert it.running_on(server) == [found.host]

    play(story, **ONE)


def test_a_guest_whose_start_nobody_acknowledged_stops_before_its_server_is_built_elsewhere() -> None:
    """The agent is cut off when its guest has just started, before its report was answered."""

    async def story(it: Scenario) -> None:
        slow(it.site, spawn=1.5)
        (server,) = await it.create()
        host = await host_of(it, server)
        guests = it.site.machines[host].hypervisor.guests
        await asyncio.sleep(1)
        it.site.cut_bus(f"agent-{host}", CELL)

        async def started() -> bool:
            return it.running_on(server) == [host]

        async def stopped() -> bool:
            return it.running_on(server) == [] and server in guests

        await it.until(started, 10)
        await it.until(stopped, LEASE)
        assert await it.settled([server], 60) == ["active"]
        assert it.running_on(server) != [host]
        it.site.heal(f"agent-{host}")
        await asyncio.sleep(30)
        assert it.running_on(server) == [(await it.servers())[server].host]

    play(story, **ONE)


def test_a_guest_that_stopped_for_want_of_an_answer_runs_again_when_the_silence_ends() -> None:
    """All of a cell's NATS is away when guests have just started: no build is given away, since nobody could be heard,
    and what stopped goes on."""

    async def story(it: Scenario) -> None:
        slow(it.site, spawn=3.0)
        servers = await it.create(SMALL, 3)
        await host_of(it, servers[-1])
        await asyncio.sleep(2)
        it.site.places[CELL].broker.down = True
        await asyncio.sleep(2 * LEASE)
        assert [it.running_on(server) for server in servers] == [[], [], []]
        it.site.places[CELL].broker.down = False
        assert await it.settled(servers, 60) == ["active"] * 3
        assert await given_back(it) == []
        found = await it.servers()
        assert all(it.running_on(server) == [found[server].host] for server in servers)

    play(story, **ONE)


def test_a_boot_that_was_recorded_though_its_answer_was_lost_keeps_its_guest() -> None:
    """The answer to a report is lost with the bus: the record says ACTIVE, and the host cannot know."""

    async def story(it: Scenario) -> None:
        (server,) = await it.create()
        host = await host_of(it, server)
        agent = it.site.running[f"agent-{host}"]
        broker = it.site.places[CELL].broker

        async def recorded() -> bool:
            return (await it.servers())[server].vm_state == "active"

        send = Broker.send

        def deaf(self: Broker, message: Any) -> bool:
            """Answers do not reach the agent from the moment on at which the record says ACTIVE."""
            active = it.monitor._records.get((CELL, f"server/{server}"), {}).get("vm_state") == "active"
            if active and message.subject.startswith("_INBOX"):
                broker.cut[agent] = None
            return send(self, message)

        with patch.object(Broker, "send", deaf):
            await it.until(recorded, 30)
            await asyncio.sleep(3 * LEASE)
        it.site.heal(f"agent-{host}")
        await asyncio.sleep(30)
        found = (await it.servers())[server]
        assert (found.vm_state, found.task_state, found.host, found.fault) == ("active", None, host, None)
        assert it.running_on(server) == [host]
        it.site.cut_bus(f"agent-{host}", CELL)  # acknowledged by now: no later silence touches it
        await asyncio.sleep(3 * LEASE)
        assert it.running_on(server) == [host]

    play(story, **ONE)


def test_a_command_that_a_host_has_accepted_waits_for_its_own_deadline() -> None:
    """A stop failed with "host is down" as soon as the lease had run out, and the guest was off."""

    async def story(it: Scenario) -> None:
        (server,) = await it.create()
        assert await it.settled([server], 30) == ["active"]
        host = await host_of(it, server)
        slow(it.site, power_off=5.0)
        await stop(it, server)
        await asyncio.sleep(1)
        it.site.cut_bus(f"agent-{host}", CELL)
        await asyncio.sleep(3 * LEASE)
        assert (await it.servers())[server].task_state == "powering-off"
        it.site.heal(f"agent-{host}")

        async def rests() -> bool:
            return (await it.servers())[server].task_state is None

        await it.until(rests, 20)
        found = (await it.servers())[server]
        assert (found.vm_state, found.fault, found.power_state) == ("stopped", None, PowerState.SHUTDOWN)

    play(story, **ONE)


def test_a_dead_host_is_still_found_dead() -> None:
    """Builds move on and deletes complete, a lease and its margin after a host has died."""

    async def story(it: Scenario) -> None:
        (kept,) = await it.create()
        assert await it.settled([kept], 30) == ["active"]
        slow(it.site, spawn=10.0)
        (server,) = await it.create()
        host = await host_of(it, server)
        await asyncio.sleep(2)
        it.site.kill(f"agent-{host}")
        assert await it.settled([server], 40) == ["active"]
        dead = await host_of(it, kept)
        it.site.kill(f"agent-{dead}")
        await asyncio.sleep(2 * LEASE)
        await it.ask(delete_server, USER, kept)

        async def gone() -> bool:
            return kept not in await it.servers()

        await it.until(gone, 2 * LEASE)

    play(story, **ONE)


# A host without a hypervisor


def test_a_host_without_a_hypervisor_takes_nothing_and_keeps_nothing() -> None:
    """One of three hosts had a dead libvirtd: it looked the emptiest, and 4 of 12 builds waited there for more than
    five minutes each."""

    async def story(it: Scenario) -> None:
        host = it.site.machines[f"h0.{CELL}"]
        host.hypervisor.down = True
        loop, born, took = it.site.loop, {}, {}
        for _ in range(12):
            (server,) = await it.create()
            born[server] = loop.time()
            await asyncio.sleep(1)
        while len(took) < len(born):
            for uuid, server in (await it.servers()).items():
                if server.vm_state == "active":
                    took.setdefault(uuid, loop.time() - born[uuid])
            assert loop.time() - max(born.values()) < 60
            await asyncio.sleep(0.5)
        assert max(took.values()) < 40
        alive = await it.site.store(CELL).get(Cell.ALIVE(host.name))
        assert alive is not None
        assert "is down" in alive.value.unready
        host.hypervisor.down = False

        async def up() -> bool:
            stored = await it.site.store(CELL).get(Cell.ALIVE(host.name))
            return stored is not None and not stored.value.unready

        await it.until(up, 10)

    play(story, **ONE)


# Strays


def test_a_returning_host_is_rid_of_all_that_is_not_its_own_before_it_works() -> None:
    """60 servers were deleted while their host was dead: it registered when 20 of the guests were gone, and 40 ran
    beside new ones for another 37 seconds."""

    async def story(it: Scenario) -> None:
        host = f"h0.{CELL}"
        servers = [uuid for _ in range(6) for uuid in await it.create(TINY, 10)]
        assert set(await it.settled(servers, 60)) == {"active"}
        it.site.kill(f"agent-{host}")
        await asyncio.sleep(3 * LEASE)
        for uuid in servers:
            await it.ask(delete_server, USER, uuid)

        async def gone() -> bool:
            return not await it.servers()

        await it.until(gone, 90)
        guests = it.site.machines[host].hypervisor.guests
        assert len(guests) == 60
        seen: list[tuple[str, int]] = []
        changed, store = it.site.places[CELL].cluster.on_changes, it.site.store(CELL)

        def note(changes: list[Any]) -> None:
            mine = [c.new for c in changes if c.key.decode().endswith(f"alive/{host}") and c.new is not None]
            seen.extend((store.stored(Alive, record).value.unready, len(guests)) for record in mine)
            changed(changes)

        it.site.places[CELL].cluster.on_changes = note
        it.site.start(f"agent-{host}")

        async def up() -> bool:
            return any(not unready for unready, _ in seen)

        await it.until(up, 30)
        assert all(unready or not left for unready, left in seen), seen

    play(story, cells=(CELL,), hosts=1)


# Hints and senders


def test_a_hint_whose_words_are_wrong_decides_nothing() -> None:
    """A hint with another project made the conductor look for the server where it was not, and drop its operation: an
    hour later it was still building."""

    async def story(it: Scenario) -> None:
        slow(it.site, spawn=10.0)
        (server,) = await it.create()
        await host_of(it, server)
        bus = SimBus(it.site.places[CELL].broker)
        for name in it.site.conductors_of(CELL):
            it.site.kill(name)
        await asyncio.sleep(2 * LEASE)
        for name in it.site.conductors_of(CELL):
            it.site.start(name)
        for _ in range(2000):
            await asyncio.sleep(0.005)
            await bus.hint(cell_wake(CELL, shard_of(server)), Wake(server, 1, "another"))
        assert await it.settled([server], 60) == ["active"]

    play(story, **ONE)


def test_an_agent_speaks_for_its_own_host_only() -> None:
    """The conductor believed the host that a message named: an agent could settle another host's operation, and keep
    another host alive, on its own subject."""

    async def story(it: Scenario) -> None:
        slow(it.site, spawn=10.0)
        (server,) = await it.create()
        host = await host_of(it, server)
        liar = next(name for name in it.site.machines if name != host)
        store = it.site.store(CELL)

        async def say(message: FromAgent, shard: int) -> ToAgent:
            bus = SimBus(it.site.places[CELL].broker)
            asking = bus.request(report(CELL, shard, liar), message, ToAgent, 5.0)
            answer: ToAgent = await it.site.loop.spawn(it.site.running[f"agent-{liar}"], asking)
            return answer

        service = await store.get(Cell.SERVICES("nova-compute", host))
        operation = await store.get(Cell.OPERATIONS(shard_of(server), server))
        assert service
        assert operation
        said = Report(mark_of("sim", operation.value), "spawn", 1)
        message = FromAgent(host, service.value.session, report=said)
        with pytest.raises(BadRequest, match=f"subject of host {liar} says that it comes from {host}"):
            await say(message, shard_of(server))
        assert (await it.states([server])) == ["spawning"]
        beats = (Beat(host, service.value.session),)
        assert (await say(FromAgent(liar, "", beats=beats), shard_of(host))).unknown == (host,)
        assert await it.settled([server], 30) == ["active"]

    play(story, **ONE)


def test_a_host_that_is_heard_again_before_its_build_is_given_away_is_asked_to_undo_it() -> None:
    """The conductor has decided that the host is down; before its transaction the host registers, with nothing that is
    not its own, and is granted time: the transaction compares that the host has no lease, else both would run it."""

    async def story(it: Scenario) -> None:
        slow(it.site, spawn=10.0)
        (server,) = await it.create()
        host = await host_of(it, server)
        await asyncio.sleep(2)
        it.site.cut_bus(f"agent-{host}", CELL)
        commit: Any = Store.commit
        held: list[Txn] = []

        async def late(self: Store, txn: Txn) -> int:
            if txn.purpose == "give back" and not held:
                held.append(txn)
                it.site.heal(f"agent-{host}")
                await it.until(up, 30)
                await asyncio.sleep(1)
            revision: int = await commit(self, txn)
            return revision

        async def up() -> bool:
            alive = await it.site.store(CELL).get(Cell.ALIVE(host))
            return alive is not None and not alive.value.unready

        with patch.object(Store, "commit", late):
            assert await it.settled([server], 90) == ["active"]
            assert held
            await asyncio.sleep(30)

    play(story, **ONE)
