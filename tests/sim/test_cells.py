"""A cell whose etcd does not answer: what it costs whoever asks, and where builds go meanwhile."""

import asyncio

import pytest

from control.servers.change import delete_server
from control.servers.find import find_server
from kv.keys import Global
from schemas.errors import Unavailable
from tests.sim.scenario import TINY, USER, Scenario, play
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
