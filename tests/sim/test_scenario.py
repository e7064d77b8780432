"""The simulated site itself: what its faults do, told on the ordinary two cells."""

import asyncio

import pytest

from schemas.errors import StoreUnavailable
from tests.sim.monitor import ROOM_SECONDS
from tests.sim.scenario import HUGE, SMALL, Scenario, play
from tests.sim.site import GLOBAL, SHAPE


def test_servers_come_up_in_both_cells() -> None:
    async def story(it: Scenario) -> None:
        servers = await it.create(SMALL, 8)
        assert await it.settled(servers, 30) == ["active"] * 8
        assert set((await it.homes(servers)).values()) == {"cell1", "cell2"}

    play(story)


def test_a_frozen_store_answers_nothing_and_goes_on() -> None:
    async def story(it: Scenario) -> None:
        with it.site.places[GLOBAL].frozen(), pytest.raises(StoreUnavailable):
            await it.create()
        servers = await it.create()
        assert await it.settled(servers, 60) == ["active"]

    play(story)


def test_one_process_is_cut_off_and_the_others_go_on() -> None:
    async def story(it: Scenario) -> None:
        for cell in it.site.cells:
            it.site.cut_store(f"conductor-{cell}-1", cell)
        it.site.cut_store("super-1", GLOBAL, refuse=True)
        servers = await it.create(SMALL, 4)
        assert await it.settled(servers, 60) == ["active"] * 4
        for name in it.site.names:
            it.site.heal(name)
        await asyncio.sleep(10)

    play(story)


def test_an_agent_that_cannot_start_is_started_again() -> None:
    """An agent whose hypervisor is down at its start ends, as libvirt's does, and its unit starts it again; the
    simulation took that end for a fault."""

    async def story(it: Scenario) -> None:
        (host,) = it.site.machines.values()
        it.site.kill(f"agent-{host.name}")
        host.hypervisor.down = True
        it.site.start(f"agent-{host.name}")
        await asyncio.sleep(5)
        host.hypervisor.down = False
        servers = await it.create()
        assert await it.settled(servers, 60) == ["active"]

    play(story, cells=("cell1",), hosts=1)


def test_a_server_with_more_processors_than_a_host_has_is_refused_rightly() -> None:
    """Placement gives one consumer at most `max_unit`, which is what a host really has; the monitor compared the
    oversold capacity alone and took the refusal for a violation of I9."""

    async def story(it: Scenario) -> None:
        assert HUGE.vcpus > SHAPE.vcpus
        await asyncio.sleep(2 * ROOM_SECONDS)
        servers = await it.create(HUGE)
        assert await it.settled(servers, 60) == ["error"]

    play(story)
