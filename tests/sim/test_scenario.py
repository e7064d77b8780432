"""The simulated site itself: what its faults do, told on the ordinary two cells."""

import asyncio

import pytest

from schemas.errors import StoreUnavailable
from tests.sim.scenario import SMALL, Scenario, play
from tests.sim.site import GLOBAL


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

    play(story, tolerate=["I9"])


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
