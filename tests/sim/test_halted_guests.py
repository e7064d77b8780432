"""Guests that their hypervisor stops without being asked, on the ordinary two cells: while they are built and later.

A first guest stood still after a KVM internal error in its boot loader, and its server stayed ACTIVE without a word.
"""

from control.conductor.cell.reconcile import HALTED
from tests.sim.scenario import SMALL, Scenario, play

WORDS = "the hypervisor stopped the guest: KVM internal error. Suberror: 1"


def test_builds_leave_hosts_that_stop_their_guests() -> None:
    """One host of each cell stops all that it starts: every server ends on another one, and nothing is left there."""

    async def story(it: Scenario) -> None:
        broken = {name: host for name, host in it.site.machines.items() if name.startswith("h1.")}
        assert len(broken) == len(it.site.cells)
        for host in broken.values():
            host.hypervisor.halts = WORDS
        servers = await it.create(SMALL, 6)
        assert await it.settled(servers, 120) == ["active"] * 6
        assert all(on and not broken.keys() & set(on) for on in map(it.running_on, servers))
        assert not any(host.hypervisor.guests for host in broken.values())

    play(story)


def test_a_halt_is_an_error_with_its_words_though_the_agent_dies_at_that_moment() -> None:
    async def story(it: Scenario) -> None:
        servers = await it.create(SMALL, 2)
        assert await it.settled(servers, 60) == ["active"] * 2
        untold = servers[1]
        for server in servers:
            (name,) = it.running_on(server)
            if server is untold:
                agent = next(a for a in it.site.names if a.startswith("agent") and a.endswith(name))
                it.site.kill(agent)
            it.site.machines[name].hypervisor.halt(server, WORDS)
            if server is untold:
                it.site.start(agent)

        async def both_in_error() -> bool:
            return await it.states(servers) == ["error"] * 2

        await it.until(both_in_error, 120)
        for server in (await it.servers()).values():
            assert server.fault
            assert server.fault.details == f"{HALTED} on {server.host}: {WORDS}"

    play(story)
