"""A cell whose etcd does not answer: what it costs whoever asks, and where builds go meanwhile."""

import asyncio
from datetime import timedelta

import pytest
from attrs import evolve

from control.servers.change import delete_server
from control.servers.find import find_server
from kv.keys import Global
from kv.txn import Txn
from runtime import ambient
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

    play(story)


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

    play(story)


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

    play(story)


def test_what_fits_nowhere_is_refused_though_a_cell_is_down() -> None:
    """Only a host that could take the build, were it heard of, is waited for."""

    async def story(it: Scenario) -> None:
        with it.site.places["cell1"].frozen():
            await asyncio.sleep(NOTICED)
            servers = await it.create(HUGE, 2)
            assert await it.settled(servers, 20) == ["error"] * 2

    play(story)


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

    play(story)


def test_builds_that_were_not_sent_to_a_frozen_cell_go_elsewhere() -> None:
    """Builds that had been claimed on a cell that froze waited for it without end, also when nothing was sent to it.
    What was sent in the first moment stays with the cell: its write may still apply."""

    async def story(it: Scenario) -> None:
        servers = await it.create(TINY, 4)
        assert await it.settled(servers, 30) == ["active"] * 4
        with it.site.places["cell1"].frozen():
            asked = []
            for _ in range(20):
                asked += await it.create(TINY, 1)
                await asyncio.sleep(0.2)
            await asyncio.sleep(20)
            waiting = [uuid for uuid, state in zip(asked, await it.states(asked), strict=True) if state == "request"]
            assert len(waiting) <= 4, f"of {asked} {waiting} wait"
        assert await it.settled(asked, 60) == ["active"] * 20

    play(story)


def test_a_build_in_a_frozen_cell_is_shown_as_an_error_from_its_deadline_on() -> None:
    """A build whose cell froze was shown as building and scheduling for as long as the cell did not answer, an hour
    after its deadline too."""

    async def story(it: Scenario) -> None:
        with it.site.places["cell1"].frozen(), it.site.places["cell2"].frozen():
            servers = await it.create(TINY, 8)
            await asyncio.sleep(0.3)
            for name in ("super-1", "super-2"):  # the next owner does not know what was sent
                it.site.kill(name)
                it.site.start(name)
            await asyncio.sleep(8)
            top = it.site.store(GLOBAL)
            for stored in await top.range(Global.OPERATIONS.under()):
                sooner = evolve(stored.value, deadline=ambient.now() + timedelta(seconds=5))
                await top.commit(Txn("bring deadline forward").replace(stored, sooner))
            await asyncio.sleep(15)
            for uuid in servers:
                shown = (await it.ask(find_server, USER, uuid)).instance
                assert (shown.vm_state, shown.task_state) == ("error", None)
                assert shown.fault is not None
        assert "active" in await it.settled(servers, 120)

    play(story)
