"""Users update servers that are built, fail, go back to the top and are built again: what was answered stays."""

import asyncio
from random import Random

from attrs import evolve

from control.servers.change import update_server
from kv.keys import Global
from schemas.errors import KilonovaError
from tests.sim.scenario import SMALL, USER, Scenario, play
from tests.sim.site import GLOBAL

SERVERS = 12
UPDATES = 100


def test_updates_that_were_answered_survive_failed_builds_and_killed_owners() -> None:
    """Name, metadata and lock of the last update that was answered, at every server, while half of the spawns fail and
    super conductors die."""

    async def story(it: Scenario) -> None:
        for host in it.site.machines.values():
            host.fail("spawn", 0.5)
        servers = await it.create(SMALL, SERVERS)
        answered: dict[str, int] = {}
        unsure: dict[str, set[int]] = {uuid: set() for uuid in servers}
        chance = Random(5)

        async def keep_updating(uuid: str) -> None:
            for n in range(UPDATES):
                try:
                    await it.ask(
                        update_server,
                        USER,
                        uuid,
                        lambda s, n=n: evolve(s, name=f"n{n}", metadata={"n": str(n)}, locked_reason=str(n)),
                    )
                    answered[uuid] = n
                    unsure[uuid].clear()
                except KilonovaError:
                    unsure[uuid].add(n)
                await asyncio.sleep(chance.uniform(0, 0.02))

        async def kill_owners() -> None:
            for n in range(4):
                await asyncio.sleep(2)
                name = f"super-{n % 2 + 1}"
                it.site.kill(name)
                it.site.start(name)

        await asyncio.gather(kill_owners(), *(keep_updating(uuid) for uuid in servers))
        await it.settled(servers, 200)

        async def handed_over() -> bool:
            return not await it.site.store(GLOBAL).paths(Global.OPERATIONS.under())

        await it.until(handed_over, 60)
        found = await it.servers()
        assert max(server.attempt for server in found.values()) > 1, "some went back to the top"
        for uuid in servers:
            number = int(found[uuid].metadata["n"])
            assert number == answered[uuid] or number in unsure[uuid]
            assert (found[uuid].name, found[uuid].locked_reason) == (f"n{number}", str(number))

    play(story)
