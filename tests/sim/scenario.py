"""How to write a test about one interleaving: a story on a simulated site that comes up by itself.

    from tests.sim.scenario import SMALL, Scenario, play

    def test_a_frozen_cell_takes_no_builds() -> None:
        async def story(it: Scenario) -> None:
            with it.site.places["cell1"].frozen():
                servers = await it.create(SMALL, 4)
                await it.until(lambda: it.states(servers) == {"active"}, 30)
            assert it.cells(servers) == {"cell2"}

        play(story)

`play` makes a world of one seed on virtual time, starts the ordinary site (two cells with an etcd and a NATS each, two
hosts and two conductors in each), waits until every host can take servers, runs the story, and fails when the monitor
saw an invariant broken meanwhile. The story uses `it.site` to kill, pause, cut, freeze (tests/sim/site.py and place.py
list the faults) and the helpers below; `it.ask(function, *arguments)` calls what an API handler would call.
`play(story, cells=("cell1",), hosts=3, settings=evolve(SETTINGS, ...))` makes another site.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeVar

from attrs import define

from control.servers.create import ServerDraft, create_servers
from control.top import Top
from kv.keys import Cell, Global
from kv.txn import Txn
from runtime import ambient
from schemas.context import REQUEST_ID
from schemas.flavor import Flavor
from schemas.identity import Identity
from schemas.quota import QuotaLimits
from schemas.server import CELL0, Instance
from tests.sim.clients import FLAVORS, USER
from tests.sim.guests import ON
from tests.sim.monitor import Monitor
from tests.sim.promises import Promises
from tests.sim.run import quiet
from tests.sim.site import GLOBAL, Site
from tests.sim.world import world

R = TypeVar("R")

SMALL: Final = FLAVORS[0]
LARGE: Final = FLAVORS[1]
"""three fill a host"""
HUGE: Final = FLAVORS[2]
"""fits no host"""
TINY: Final = Flavor("9", "tiny", 1, 64, 1)

__all__ = ["HUGE", "LARGE", "SMALL", "TINY", "USER", "Scenario", "play"]


@define(eq=False)
class Scenario:
    """A running site and what tests ask of it."""

    site: Site
    monitor: Monitor

    async def ask(self, function: Callable[..., Awaitable[R]], *arguments: Any, **options: Any) -> R:
        """Calls a function of the domain, whose first parameter is the Top, in the API process. Raises what it raises;
        waits for ever when the API dies."""

        async def alone() -> R:
            REQUEST_ID.set(f"req-{ambient.new_uuid()}")
            assert self.site.api is not None
            return await function(self.site.api, *arguments, **options)

        answer: R = await self.site.loop.spawn(self.site.running["api"], alone())
        return answer

    async def create(
        self, flavor: Flavor = SMALL, count: int = 1, identity: Identity = USER, **draft: Any
    ) -> list[str]:
        """The uuids of accepted servers; `draft` are fields of a ServerDraft."""
        wanted = ServerDraft("s", flavor, None, min_count=count, max_count=count, networks="none", **draft)
        return [server.uuid for server in (await self.ask(create_servers, identity, wanted))[1]]

    async def servers(self, store: str | None = None) -> dict[str, Instance]:
        """By uuid: those of one store, or of cell0 and every cell."""
        found = {}
        for name in [store] if store else [CELL0, *self.site.cells]:
            found |= {s.value.uuid: s.value for s in await self.site.store(name).range(Cell.INSTANCES.under())}
        return found

    async def homes(self, uuids: Iterable[str]) -> dict[str, str]:
        """The store in which each of these servers is, of those that are in one."""
        homes = {uuid: name for name in (CELL0, *self.site.cells) for uuid in await self.servers(name)}
        return {uuid: homes[uuid] for uuid in uuids if uuid in homes}

    async def states(self, uuids: Iterable[str]) -> list[str]:
        """Each server's vm_state, or its task_state while it has one; `request` while it is in no cell."""
        found = await self.servers()
        return [(s.task_state or s.vm_state) if (s := found.get(uuid)) else "request" for uuid in uuids]

    async def settled(self, uuids: Iterable[str], seconds: float) -> list[str]:
        """Their states, when all are active or in error. Fails after so many seconds."""
        wanted = list(uuids)
        await self.until(lambda: self._rests(wanted), seconds)
        return await self.states(wanted)

    async def _rests(self, uuids: list[str]) -> bool:
        return all(state in ("active", "error") for state in await self.states(uuids))

    async def until(self, true: Callable[[], Awaitable[bool]], seconds: float) -> float:
        """Looks every 50 ms; how long it took. Fails after so many seconds of virtual time."""
        loop = self.site.loop
        began = loop.time()
        while not await true():
            assert loop.time() - began < seconds, f"not within {seconds:g} s"
            await asyncio.sleep(0.05)
        return loop.time() - began

    def running_on(self, uuid: str) -> list[str]:
        """The hosts on which the server's guest runs now."""
        hosts = self.site.machines.values()
        return [h.name for h in hosts if (g := h.hypervisor.guests.get(uuid)) is not None and g.state.power_state in ON]

    async def ready(self) -> None:
        """Returns when every host can take servers and the API serves."""

        async def all_there() -> bool:
            alive = sum([len(await self.site.store(cell).paths(Cell.ALIVE.under())) for cell in self.site.cells])
            known = len(await self.site.store(GLOBAL).paths(Global.USAGES.under()))
            return alive == known == len(self.site.machines) and self.site.api is not None

        await self.until(all_there, 60)
        await asyncio.sleep(5)


def play(story: Callable[[Scenario], Awaitable[None]], *, seed: int = 1, **site: Any) -> None:
    """Runs the story; raises what it raises, and AssertionError when an invariant was broken. `site` are fields of a
    Site."""
    quiet()

    async def main() -> list[str]:
        it = Scenario(Site(loop, random, **site), None)  # type: ignore[arg-type]  # the next line has it
        it.monitor = Monitor(it.site, Promises())
        await it.site.bootstrap()
        unlimited = QuotaLimits({"instances": -1, "cores": -1, "ram": -1, "server_groups": -1})
        await it.site.store(GLOBAL).commit(Txn("quota").put(Global.QUOTA_LIMITS(USER.project), unlimited))
        watching = asyncio.create_task(it.monitor.run())
        await it.ready()
        try:
            await story(it)
        finally:
            watching.cancel()
            for name in list(it.site.running):
                it.site.kill(name)
        return [*it.monitor.violations, *it.site.deaths]

    with world(seed) as (loop, random):
        violations = loop.run_until_complete(main())
    assert not violations, violations


def top_of(scenario: Scenario) -> Top:
    """The API's handles, for looking at what it keeps."""
    assert scenario.site.api is not None
    return scenario.site.api
