"""A cell whose etcd does not answer: what it costs whoever asks, and where builds go meanwhile."""

import asyncio

import pytest

from control.servers.change import delete_server
from control.servers.find import find_server
from kv.keys import Global
from schemas.errors import Unavailable
from tests.sim.scenario import HUGE, LARGE, TINY, USER, Scenario, play
from tests.sim.site import GLOBAL

NOTICED: float = 2.0
"""seconds after which nothing is claimed in a frozen cell: a missed deadline, then a failed probe"""


def test_a_frozen_cell_is_noticed_in_about_a_second() -> None:
    """The scheduler went on claiming hosts of a frozen cell until its watch was given up, for more than six seconds;
    those builds then waited for the cell though another one had room."""

    async def story(it: Scenario) -> None:
        with it.site.places["cell1"].frozen():
            await asyncio.sleep(NOTICED)
            servers = await it.create(TINY, 8)
            assert await it.settled(servers, 30) == ["active"] * 8
            assert set((await it.homes(servers)).values()) == {"cell2"}

    play(story, tolerate=["I2"])


def test_a_server_of_a_frozen_cell_costs_its_readers_nothing() -> None:
    """Each show of a server in a frozen cell took two to four seconds, and a delete six."""

    async def story(it: Scenario) -> None:
        servers = await it.create(TINY, 8)
        assert await it.settled(servers, 30) == ["active"] * 8
        homes = await it.homes(servers)
        lost = next(uuid for uuid in servers if homes[uuid] == "cell1")
        clock = asyncio.get_running_loop().time
        with it.site.places["cell1"].frozen():
            began = clock()
            assert (await it.ask(find_server, USER, lost)).down
            assert clock() - began < NOTICED
            for _ in range(10):
                began = clock()
                assert (await it.ask(find_server, USER, lost)).down
                with pytest.raises(Unavailable, match="does not answer"):
                    await it.ask(delete_server, USER, lost)
                assert clock() - began < 0.1
        await asyncio.sleep(NOTICED)
        assert not (await it.ask(find_server, USER, lost)).down
        assert not await it.site.store(GLOBAL).paths(Global.OPERATIONS.under())

    play(story, tolerate=["I2"])


def test_no_refusal_is_final_while_a_cell_is_not_heard_of() -> None:
    """A build was refused for good, "in a disabled or unreachable cell", while the watches of its cell were opened
    again: for as little as 50 ms."""

    async def story(it: Scenario) -> None:
        with it.site.places["cell1"].frozen(), it.site.places["cell2"].frozen():
            await asyncio.sleep(NOTICED)
            servers = await it.create(TINY, 4)
            await asyncio.sleep(20)
            assert await it.states(servers) == ["request"] * 4
        assert await it.settled(servers, 60) == ["active"] * 4

    play(story, tolerate=["I2"])


def test_what_fits_nowhere_is_refused_though_a_cell_is_down() -> None:
    """Only a host that could take the build, were it heard of, is waited for."""

    async def story(it: Scenario) -> None:
        with it.site.places["cell1"].frozen():
            await asyncio.sleep(NOTICED)
            servers = await it.create(HUGE, 2)
            assert await it.settled(servers, 20) == ["error"] * 2

    play(story, tolerate=["I2"])


def test_no_refusal_is_final_on_an_old_view() -> None:
    """The watches of a scheduler's member stood still: room that was freed before the request was not seen, and the
    build was refused for good."""

    async def story(it: Scenario) -> None:
        servers = []
        while (await it.settled(more := await it.create(LARGE, 1), 30)) == ["active"]:
            servers += more
        for name in ("scheduler-1", "scheduler-2"):
            it.site.silence(name, GLOBAL)
        for uuid in servers[:2]:
            await it.ask(delete_server, USER, uuid)
        await asyncio.sleep(3)
        wanted = await it.create(LARGE, 1)
        await asyncio.sleep(4)
        assert await it.states(wanted) == ["request"]
        for name in ("scheduler-1", "scheduler-2"):
            it.site.heal(name)
        assert await it.settled(wanted, 60) == ["active"]

    play(story, tolerate=["I2", "I9"])
