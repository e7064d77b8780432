"""Hosts and their records: sessions, second machines with a name, and guests that are not as the records say."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from attrs import evolve
from substrate import eventually, map_site
from thread_site import HASTY, Host, Site, running_site

from agents.agent import Agent
from agents.drivers.simulated import SimulatedGuest
from bus.client import Bus
from bus.service import Service
from control.cells.hosts import list_hosts
from control.conductor.cell.hosts import BINARY
from control.conductor.cell.reconcile import HALTED, MISSING
from control.servers.history import list_actions
from kv.keys import Cell
from kv.txn import Txn
from schemas.guest import GuestMark, GuestState, PowerState
from schemas.settings import BusSettings, StoreSettings


@pytest.fixture
async def site(
    request: pytest.FixtureRequest, store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path
) -> AsyncIterator[Site]:
    """`param`: how long a silent host is held for alive."""
    settings = await map_site(store_settings, bus_settings, tmp_path)
    conductor = evolve(HASTY, host_lease_ttl=getattr(request, "param", HASTY.host_lease_ttl))
    async with running_site(settings, Host("h1"), conductor=conductor) as running:
        yield running


async def session_of(site: Site) -> str:
    stored = await site.top.cells.store("cell1").get(Cell.SERVICES(BINARY, "h1"))
    assert stored
    return stored.value.session


@asynccontextmanager
async def second_agent(site: Site, host: Host) -> AsyncIterator[Agent]:
    """On another machine, under a name that is taken."""
    bus = await Bus.connect(site.settings.cell.bus, "second")
    settings = evolve(site.settings.agent, heartbeat_seconds=0.2, inventory_seconds=1.0)
    agent = Agent(settings, host.name, host.id, host.driver(), bus, Service(bus, "agent", "0.1.0", ""))
    running = asyncio.create_task(agent.run())
    yield agent
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await bus.drain()


async def test_a_restarted_agent_replaces_its_session_at_once(site: Site) -> None:
    """Not only when its predecessor counts as down."""
    uuid = await site.create()
    await site.at_rest(uuid, "active")
    before = await session_of(site)
    await site.stop("h1")
    began = asyncio.get_running_loop().time()
    await site.start("h1")
    assert asyncio.get_running_loop().time() - began < site.settings.conductor.host_lease_ttl
    assert await session_of(site) != before
    assert uuid in site.hosts["h1"].hypervisor.guests
    await site.change(uuid, "stop")
    await site.at_rest(uuid, "stopped")


@pytest.mark.parametrize("site", [5], indirect=True)
async def test_a_second_machine_with_the_name_is_refused_and_takes_nothing_away(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.agent.REFUSED_SECONDS", 0.1)
    session = await session_of(site)
    machine = Host("h1")
    async with second_agent(site, machine) as second:
        uuids = [await site.create() for _ in range(4)]
        for uuid in uuids:
            await site.at_rest(uuid, "active")
        assert set(site.hosts["h1"].hypervisor.guests) == set(uuids)
        assert machine.hypervisor.guests == {}
        assert (second.registered, await session_of(site)) == (False, session)
        assert f"another machine, with host id {site.hosts['h1'].id}, is registered as h1" in second.refusal

        # Nor is it taken for the first one when that is dead: its guests may run on.
        await site.stop("h1")
        store = site.top.cells.store("cell1")

        async def is_down() -> bool:
            return await store.get(Cell.ALIVE("h1")) is None

        await eventually(is_down)
        refused = second.refusals
        await eventually(lambda: second.refusals > refused + 1)
        assert not second.registered

        # Deleting the service is how an operator says that the other is gone for good.
        await store.commit(Txn("delete service").delete(Cell.SERVICES(BINARY, "h1")))
        await eventually(lambda: second.registered)
    assert await session_of(site) != session


async def test_guests_that_no_record_knows(site: Site) -> None:
    hypervisor = site.hosts["h1"].hypervisor
    ours = GuestMark(site.settings.site, "11111111-0000-4000-8000-000000000000", "p1", 3, "boot/req-1/1")
    theirs = evolve(ours, site="another", server="22222222-0000-4000-8000-000000000000")
    for mark in (ours, theirs):
        hypervisor.put(SimulatedGuest(GuestState(mark.server, PowerState.RUNNING, mark), 32, 1))
    hypervisor.put(SimulatedGuest(GuestState("virsh", PowerState.RUNNING), 32, 1))
    uuid = await site.create()
    await site.at_rest(uuid, "active")
    await eventually(lambda: ours.server not in hypervisor.guests)
    assert set(hypervisor.guests) == {uuid, theirs.server, "virsh"}


async def test_a_guest_that_somebody_undefined_is_an_error_until_it_is_back(site: Site) -> None:
    uuid = await site.create()
    await site.at_rest(uuid, "active")
    hypervisor = site.hosts["h1"].hypervisor
    kept = hypervisor.guests[uuid]
    hypervisor.vanish(uuid)
    found = await site.at_rest(uuid, "error")
    assert found.instance.fault
    assert found.instance.fault.details == MISSING
    assert "host h1 has no guest of this server any more" in found.instance.fault.message
    hypervisor.put(kept)
    assert (await site.at_rest(uuid, "active")).instance.fault is None
    told = [(a.action, a.message) for a in await list_actions(site.top, found)]
    assert told[:2] == [("start", None), ("stop", "Error")]


KVM_ERROR = "the hypervisor stopped the guest: KVM internal error. Suberror: 1\nEAX=00000010"


async def test_a_guest_that_its_hypervisor_stopped_is_an_error_until_it_is_rebooted(site: Site) -> None:
    """The first guest of a fresh machine stood still in its boot loader after a KVM internal error; its server stayed
    ACTIVE, and nothing told of it: no fault, no action, no line of its story."""
    uuid = await site.create()
    await site.at_rest(uuid, "active")
    site.hosts["h1"].hypervisor.halt(uuid, KVM_ERROR)
    found = await site.at_rest(uuid, "error")
    assert found.instance.power_state == PowerState.PAUSED
    assert found.instance.fault
    assert "KVM internal error. Suberror: 1" in found.instance.fault.message
    assert found.instance.fault.details == f"{HALTED} on h1: {KVM_ERROR}"
    told = (await list_actions(site.top, found))[0]
    assert (told.action, told.message, told.events[0].result) == ("stop", "Error", "Error")
    assert any("KVM internal error. Suberror: 1" in line.text for line in told.story)

    await site.change(uuid, "reboot", type="HARD")
    assert (await site.at_rest(uuid, "active")).instance.fault is None


async def test_a_halt_that_nobody_heard_of_is_found_at_the_next_look(site: Site) -> None:
    uuid = await site.create()
    await site.at_rest(uuid, "active")
    await site.stop("h1")
    site.hosts["h1"].hypervisor.halt(uuid, KVM_ERROR)
    await site.start("h1")
    await site.at_rest(uuid, "error")
    await site.delete(uuid)
    await site.gone(uuid)


async def test_a_build_whose_guest_is_stopped_goes_to_another_host(site: Site) -> None:
    """It fails over as any failed spawn does, and the host that stops its first guest says so in its service's state
    and is given no other."""
    await site.add_hosts(Host("h2"))
    bad = site.hosts["h1"].hypervisor
    bad.halts = KVM_ERROR
    servers = [await site.create() for _ in range(3)]
    for uuid in servers:
        assert (await site.at_rest(uuid, "active")).instance.host == "h2"
    await eventually(lambda: not bad.guests)

    bad.trouble, bad.takes_guests = "KVM stopped the first guest it was given", False
    await site.stop("h1")
    await site.start("h1")

    async def shown() -> tuple[bool, str | None]:
        views = {view.mapping.host: view for view in await list_hosts(site.top)}
        return views["h1"].disabled, views["h1"].reason

    assert await shown() == (True, "AUTO: KVM stopped the first guest it was given")
    uuid = await site.create()
    assert (await site.at_rest(uuid, "active")).instance.host == "h2"


async def test_a_guest_that_vanished_while_nobody_looked_is_found_missing(site: Site) -> None:
    uuid = await site.create()
    await site.at_rest(uuid, "active")
    await site.stop("h1")
    site.hosts["h1"].hypervisor.remove(uuid)
    await site.start("h1")
    await site.at_rest(uuid, "error")
    await site.delete(uuid)
    await site.gone(uuid)


async def test_power_states_that_somebody_changed_by_hand(site: Site) -> None:
    uuid = await site.create()
    await site.at_rest(uuid, "active")
    hypervisor = site.hosts["h1"].hypervisor
    hypervisor.set_power(uuid, PowerState.PAUSED)
    found = await site.until(uuid, lambda f: f.instance.power_state == PowerState.PAUSED)
    assert found.instance.vm_state == "active"
    hypervisor.set_power(uuid, PowerState.CRASHED)
    found = await site.at_rest(uuid, "stopped")
    actions = await list_actions(site.top, found)
    assert [a.action for a in actions] == ["stop", "create"]
    assert actions[0].events[0].details == "the guest crashed"

    # It was stopped: nobody but its user may start it.
    hypervisor.set_power(uuid, PowerState.RUNNING)
    before = found.instance.generation
    await site.until(uuid, lambda f: f.instance.generation > before)  # it may be off again before anybody looks
    await site.at_rest(uuid, "stopped")
    await eventually(lambda: hypervisor.guests[uuid].state.power_state == PowerState.SHUTDOWN)


@pytest.mark.parametrize("resume", [True, False])
async def test_what_becomes_of_guests_when_their_machine_is_booted(site: Site, resume: bool) -> None:
    running, stopped = [await site.create() for _ in range(2)]
    for uuid in (running, stopped):
        await site.at_rest(uuid, "active")
    await site.change(stopped, "stop")
    await site.at_rest(stopped, "stopped")
    await site.stop("h1")
    hypervisor = site.hosts["h1"].hypervisor
    hypervisor.reboot()
    agent = evolve(site.settings.agent, resume_guests_state_on_host_boot=resume)
    site.settings = evolve(site.settings, agent=agent)
    await site.start("h1")
    if resume:
        await site.until(running, lambda f: f.instance.task_state is None and f.instance.generation > 1)
        await eventually(lambda: hypervisor.guests[running].state.power_state == PowerState.RUNNING)
        found = await site.at_rest(running, "active")
        assert [a.action for a in await list_actions(site.top, found)] == ["reboot", "create"]
    else:
        await site.at_rest(running, "stopped")
    assert hypervisor.guests[stopped].state.power_state == PowerState.SHUTDOWN
    assert (await site.at_rest(stopped, "stopped")).instance.task_state is None


async def test_a_command_that_meets_no_guest_has_the_host_looked_over(site: Site) -> None:
    """On demand, not only when the next inventory is due."""
    agent = evolve(site.settings.agent, inventory_seconds=3600.0)
    site.settings = evolve(site.settings, agent=agent)
    await site.stop("h1")
    await site.start("h1")
    uuid = await site.create()
    await site.at_rest(uuid, "active")
    site.hosts["h1"].hypervisor.remove(uuid)  # without a word
    await site.change(uuid, "reboot", type="HARD")
    found = await site.at_rest(uuid, "error")
    assert found.instance.fault
    assert found.instance.fault.details == MISSING
