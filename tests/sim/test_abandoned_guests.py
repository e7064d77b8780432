"""Guests whose agent ended between their start and the acknowledgement of their spawn, and what counts as I4 then."""

import asyncio

import pytest

from tests.sim.loop import Process
from tests.sim.scenario import SMALL, Scenario, play

ONE_CELL = {"cells": ("cell1",)}


def test_a_guest_left_by_a_dead_agent_is_removed_by_the_next_session() -> None:
    """The agent is cut off while it builds, starts the guest, and is killed before it can say so. The server is built
    on the other host after the lease, as nothing on the first one can stop the guest; the agent's next session does."""

    async def story(it: Scenario) -> None:
        for host in it.site.machines.values():
            host.takes["spawn"] = 1.0
        (server,) = await it.create(SMALL)
        agent = ""

        async def commanded() -> bool:
            record = (await it.servers()).get(server)
            return record is not None and record.task_state == "spawning"

        async def running() -> bool:
            return bool(it.running_on(server))

        await it.until(commanded, 20)
        record = (await it.servers())[server]
        agent = f"agent-{record.host}"
        await asyncio.sleep(0.3)
        it.site.cut_bus(agent, "cell1")
        await it.until(running, 5)
        assert it.running_on(server) == [record.host]
        it.site.kill(agent)
        assert await it.settled([server], 120) == ["active"]
        assert sorted(it.running_on(server)) == sorted(it.site.machines)
        it.site.start(agent)

        async def once() -> bool:
            return len(it.running_on(server)) == 1

        await it.until(once, 20)
        assert it.running_on(server) != [record.host]

    play(story, **ONE_CELL)


@pytest.mark.parametrize("acknowledged", [False, True])
def test_what_an_agent_could_stop_or_the_cell_knew_of_is_still_a_violation(*, acknowledged: bool) -> None:
    """The exception must hide neither the guest of an agent that is well nor a server that had been handed out."""

    async def story(it: Scenario) -> None:
        agents = [Process("agent-a"), Process("agent-b", dead=acknowledged)]
        (server,) = await it.create(SMALL)
        assert await it.settled([server], 60) == ["active"]
        (host,) = it.running_on(server)
        it.monitor.guests.twice(server, {"elsewhere": agents[0], host if acknowledged else "other": agents[1]})
        assert it.monitor.violations
        it.monitor.violations.clear()

    play(story, **ONE_CELL)
