"""The contract of `agents.drivers.base.Driver`, run against libvirt and against its simulated twin."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from attrs import evolve
from driver_labs import SITE, Lab, LibvirtLab, SimulatedLab, console_shows, new_spec

from agents.drivers.base import Driver
from agents.drivers.processors import ProcessorSets
from control.placement.numa import guest_cells, placements
from schemas.errors import GuestNotFound, HostError, HostFull, HypervisorDown, ImageUnusable, WrongState
from schemas.guest import GuestMark, GuestState, PowerState
from schemas.topology import CellClaim, DeviceClaim, TopologyClaim

RUNNING, SHUTDOWN = PowerState.RUNNING, PowerState.SHUTDOWN


@pytest.fixture(params=["simulated", pytest.param("libvirt", marks=pytest.mark.guest)])
async def lab(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Lab]:
    if request.param == "libvirt":
        made: Lab = LibvirtLab(tmp_path, request.getfixturevalue("libvirt_guest"))
    else:
        made = SimulatedLab()
    yield made
    await made.close()


@pytest.fixture
async def driver(lab: Lab) -> Driver:
    return await lab.driver()


@pytest.fixture
def marks() -> Iterator[GuestMark]:
    """Never the same twice: each command has its own operation and generation."""
    return (GuestMark(SITE, "", "p1", generation, f"op-{generation}") for generation in range(2, 1000))


async def state_of(driver: Driver, server: str) -> GuestState | None:
    return next((state for state in await driver.guests() if state.server == server), None)


async def test_spawned_twice_it_is_one_guest(driver: Driver) -> None:
    spec = new_spec()
    first = await driver.spawn(spec)
    second = await driver.spawn(spec)

    assert (first.server, first.power_state, first.mark) == (spec.mark.server, RUNNING, spec.mark)
    assert second.power_state == RUNNING
    assert [s.server for s in await driver.guests()].count(spec.mark.server) == 1


async def test_a_newer_attempt_of_the_same_operation_adopts_the_guest(driver: Driver) -> None:
    spec = new_spec()
    await driver.spawn(spec)
    newer = evolve(spec, mark=evolve(spec.mark, generation=7))

    assert (await driver.spawn(newer)).mark == newer.mark
    state = await state_of(driver, spec.mark.server)
    assert state is not None
    assert state.mark == newer.mark


async def test_another_operation_replaces_the_guest(driver: Driver) -> None:
    spec = new_spec()
    await driver.spawn(spec)
    other = evolve(spec, mark=evolve(spec.mark, generation=2, operation="op-rebuild"), vcpus=2)

    state = await driver.spawn(other)
    assert (state.power_state, state.mark) == (RUNNING, other.mark)


async def test_an_attempt_that_was_cut_off_is_finished(driver: Driver, lab: Lab) -> None:
    """Defined, marked, but not running: what a kill between two steps leaves."""
    spec = new_spec()
    await driver.spawn(spec)
    lab.stop_behind(spec.mark.server)

    assert (await driver.spawn(spec)).power_state == RUNNING


async def test_a_guest_that_the_hypervisor_stopped_is_told_at_once(
    driver: Driver, lab: Lab, marks: Iterator[GuestMark]
) -> None:
    """A guest in its boot loader was stopped by "KVM internal error. Suberror: 1"; it looked like one that its user had
    paused, and nobody said a word. It is not to be taken for that, and a power cycle has it run again."""
    spec = new_spec()
    server = spec.mark.server
    await driver.spawn(spec)
    await driver.pause(server, evolve(next(marks), server=server))
    assert (await driver.guest(server)).halted == ""
    await driver.unpause(server, evolve(next(marks), server=server))
    lab.reports.clear()

    lab.halt_behind(server)
    told = await lab.reported(server, timeout=5, halted=True)
    assert told.power_state == PowerState.PAUSED
    assert "the hypervisor stopped the guest" in told.halted
    assert (await driver.guest(server)).halted == told.halted
    with pytest.raises(HostError, match="the hypervisor stopped the guest"):
        await driver.pause(server, evolve(next(marks), server=server))

    state = await driver.reboot(server, evolve(next(marks), server=server), True, 0)
    assert (state.power_state, state.halted) == (RUNNING, "")
    assert (await lab.reported(server, power_state=RUNNING, halted="")).halted == ""


async def test_destroyed_twice_nothing_is_left(driver: Driver, lab: Lab) -> None:
    spec = new_spec()
    await driver.spawn(spec)
    assert lab.leftovers(spec.mark.server)

    await driver.destroy(spec.mark.server)
    await driver.destroy(spec.mark.server)

    assert await state_of(driver, spec.mark.server) is None
    assert lab.leftovers(spec.mark.server) == []


async def test_a_power_cycle_and_its_repetitions(driver: Driver, marks: Iterator[GuestMark]) -> None:
    spec = new_spec()
    server = spec.mark.server
    await driver.spawn(spec)

    for wanted, change in (
        (SHUTDOWN, lambda mark: driver.power_off(server, mark, 0)),
        (SHUTDOWN, lambda mark: driver.power_off(server, mark, 5)),
        (RUNNING, lambda mark: driver.power_on(server, mark)),
        (RUNNING, lambda mark: driver.power_on(server, mark)),
        (RUNNING, lambda mark: driver.reboot(server, mark, True, 0)),
        (SHUTDOWN, lambda mark: driver.power_off(server, mark, 0.3)),
        (RUNNING, lambda mark: driver.reboot(server, mark, True, 0)),
        # It does not obey the power button: nothing but firmware runs in it.
        (RUNNING, lambda mark: driver.reboot(server, mark, False, 0.3)),
    ):
        mark = evolve(next(marks), server=server)
        state = await change(mark)
        assert (state.power_state, state.mark) == (wanted, mark)


async def test_pausing_and_suspending_and_their_repetitions(driver: Driver, marks: Iterator[GuestMark]) -> None:
    spec = new_spec()
    server = spec.mark.server
    await driver.spawn(spec)

    for wanted, change in (
        (PowerState.PAUSED, driver.pause),
        (PowerState.PAUSED, driver.pause),
        (RUNNING, driver.unpause),
        (RUNNING, driver.unpause),
        (SHUTDOWN, driver.suspend),
        (SHUTDOWN, driver.suspend),
        (RUNNING, driver.resume),
        (RUNNING, driver.resume),
        (PowerState.PAUSED, driver.pause),
        (SHUTDOWN, driver.suspend),
        (RUNNING, driver.resume),
        (SHUTDOWN, driver.suspend),
        (RUNNING, lambda server, mark: driver.reboot(server, mark, True, 0)),
        (PowerState.PAUSED, driver.pause),
        (RUNNING, driver.power_on),
    ):
        mark = evolve(next(marks), server=server)
        state = await change(server, mark)
        assert (state.power_state, state.mark) == (wanted, mark)
        assert await driver.guest(server) == state

    await driver.suspend(server, spec.mark)
    await driver.destroy(server)
    assert await state_of(driver, server) is None


async def test_what_is_off_can_neither_be_paused_nor_suspended(driver: Driver) -> None:
    spec = new_spec()
    server = spec.mark.server
    await driver.spawn(spec)
    await driver.power_off(server, spec.mark, 0)
    for call in (driver.pause, driver.unpause, driver.suspend):
        with pytest.raises(HostError):
            await call(server, spec.mark)
    with pytest.raises(WrongState, match=f"Cannot 'get_diagnostics' instance {server} while it is in power state 4"):
        await driver.diagnostics(server)
    assert (await driver.resume(server, spec.mark)).power_state == RUNNING


async def test_what_a_guest_has_used(driver: Driver) -> None:
    spec = new_spec(vcpus=1, memory_mb=64)
    await driver.spawn(spec)
    found = await driver.diagnostics(spec.mark.server)
    assert (found.state, found.driver, found.hypervisor, found.hypervisor_os) == ("running", "libvirt", "qemu", "linux")
    assert (found.memory_maximum, found.memory_used) == (64, 64)
    assert [cpu.id for cpu in found.cpus] == [0]
    assert [nic.mac_address for nic in found.nics] == [spec.nics[0].mac]
    assert found.disks[0].device == "vda"
    await driver.pause(spec.mark.server, spec.mark)
    assert (await driver.diagnostics(spec.mark.server)).state == "paused"


async def test_another_driver_knows_the_guests_and_their_marks(
    driver: Driver, lab: Lab, marks: Iterator[GuestMark]
) -> None:
    spec = new_spec()
    mark = evolve(next(marks), server=spec.mark.server)
    await driver.spawn(spec)
    await driver.power_off(spec.mark.server, mark, 0)
    await driver.close()

    successor = await lab.driver()
    state = await state_of(successor, spec.mark.server)
    assert state is not None
    assert (state.power_state, state.mark) == (SHUTDOWN, mark)
    assert (await successor.power_on(spec.mark.server, mark)).power_state == RUNNING
    await successor.destroy(spec.mark.server)
    assert lab.leftovers(spec.mark.server) == []


async def test_calls_for_a_guest_that_is_not_there(driver: Driver, marks: Iterator[GuestMark]) -> None:
    server = new_spec().mark.server
    mark = evolve(next(marks), server=server)
    for call in (
        driver.power_on(server, mark),
        driver.power_off(server, mark, 1),
        driver.reboot(server, mark, False, 1),
        driver.reboot(server, mark, True, 1),
        driver.pause(server, mark),
        driver.unpause(server, mark),
        driver.suspend(server, mark),
        driver.resume(server, mark),
        driver.guest(server),
        driver.diagnostics(server),
        driver.console_output(server, 10),
    ):
        with pytest.raises(GuestNotFound):
            await call


async def test_a_foreign_domain_is_seen_and_never_touched(driver: Driver, lab: Lab) -> None:
    with lab.foreign() as server:
        state = await state_of(driver, server)
        assert state is not None
        assert state.mark is None
        spec = new_spec()
        for call in (driver.destroy(server), driver.spawn(evolve(spec, mark=evolve(spec.mark, server=server)))):
            with pytest.raises(HostError):
                await call
        assert await state_of(driver, server) is not None


async def test_changes_are_reported_whoever_made_them(driver: Driver, lab: Lab) -> None:
    spec = new_spec()
    server = spec.mark.server
    await driver.spawn(spec)
    await lab.reported(server, power_state=RUNNING)
    lab.stop_behind(server)
    stopped = await lab.reported(server, power_state=SHUTDOWN)
    assert stopped.mark == spec.mark

    await driver.spawn(spec)
    lab.vanish_behind(server)
    await lab.reported(server, power_state=PowerState.NOSTATE)


async def test_a_wrong_digest_leaves_nothing(driver: Driver, lab: Lab) -> None:
    spec = new_spec(lab.wrong_image())
    with pytest.raises(ImageUnusable):
        await driver.spawn(spec)
    assert lab.leftovers(spec.mark.server) == []


async def test_an_image_is_at_hand_before_a_guest_needs_it(driver: Driver, lab: Lab) -> None:
    image = lab.image()
    for _ in range(2):
        await driver.cache_image(image)
        assert lab.has_cached(image)
    with pytest.raises(ImageUnusable):
        await driver.cache_image(lab.wrong_image())
    assert not lab.has_cached(lab.wrong_image())


async def test_a_full_host_says_so_and_keeps_nothing(lab: Lab) -> None:
    async with lab.full() as (driver, spec):
        with pytest.raises(HostFull):
            await driver.spawn(spec)
        assert await state_of(driver, spec.mark.server) is None
        assert lab.leftovers(spec.mark.server) == []


async def test_a_spawn_cancelled_at_any_moment_is_cleaned_up_by_destroy(driver: Driver, lab: Lab) -> None:
    image = lab.image()
    for wait in (0.0, 0.01, 0.05, 0.15, 0.3, 0.5):
        spec = new_spec(image)
        attempt = asyncio.create_task(driver.spawn(spec))
        await asyncio.sleep(wait)
        attempt.cancel()
        await asyncio.wait([attempt])
        await driver.destroy(spec.mark.server)
        assert lab.leftovers(spec.mark.server) == [], f"cancelled after {wait} s"
        assert await state_of(driver, spec.mark.server) is None


async def test_guests_outlive_a_hypervisor_that_goes_away(lab: Lab) -> None:
    async with lab.outage() as (driver, outage):
        spec = new_spec()
        await driver.spawn(spec)
        await outage.begin()
        for call in (driver.guests, driver.facts, lambda: driver.destroy(spec.mark.server)):
            with pytest.raises(HypervisorDown):
                await call()
        await outage.end()
        async with asyncio.timeout(20):
            while True:
                try:
                    state = await state_of(driver, spec.mark.server)
                    break
                except HypervisorDown:
                    await asyncio.sleep(0.1)
        assert state is not None
        assert state.power_state == RUNNING
        lab.stop_behind(spec.mark.server)
        await lab.reported(spec.mark.server, power_state=SHUTDOWN)


async def test_the_facts_of_a_host(driver: Driver) -> None:
    facts = await driver.facts()
    assert facts.vcpus > 0
    assert facts.memory_mb > 0
    assert facts.local_gb > 0
    assert facts.hypervisor_type == "QEMU"
    assert facts.hypervisor_version > 1_000_000
    assert facts.hypervisor_hostname
    assert {"arch", "model", "vendor", "features", "topology"} <= set(facts.cpu_info)
    assert {"COMPUTE_NODE", "COMPUTE_IMAGE_TYPE_QCOW2", "HW_ARCH_X86_64"} <= facts.traits


@pytest.mark.parametrize("sets", [ProcessorSets(), ProcessorSets(dedicated=frozenset({0})), ProcessorSets(reserved=1)])
async def test_the_numa_cells_of_a_host_are_its_capacity(lab: Lab, sets: ProcessorSets) -> None:
    facts = await (await lab.driver(sets=sets)).facts()
    assert (facts.vcpus == 0, facts.pcpus) == (sets.dedicated is not None, len(sets.dedicated or ()))
    assert facts.reserved_vcpus == sets.reserved
    cells = facts.topology
    assert len({cell.id for cell in cells}) == len(cells) > 0
    assert sum(len(cell.cpus) for cell in cells) == facts.vcpus
    assert sum(len(cell.dedicated) for cell in cells) == facts.pcpus
    assert len(frozenset().union(*(cell.cpus | cell.dedicated for cell in cells))) == facts.vcpus + facts.pcpus
    for cell in cells:
        assert frozenset().union(*cell.siblings) <= cell.cpus | cell.dedicated
        assert sum(pages.size_kib * pages.total for pages in cell.pages) <= cell.memory_mb * 1024 + 1023
        assert min(pages.size_kib for pages in cell.pages) == 4
        assert (cell.cpus_used, cell.memory_used_mb, cell.pinned) == (0, 0, frozenset()), "claims count, not drivers"
    guest = guest_cells(1, 64, {"hw:cpu_policy": "dedicated" if facts.pcpus else "shared", "hw:numa_nodes": "1"}, {})
    assert next(placements(guest, cells), None) is not None


async def test_processors_that_a_host_does_not_have(lab: Lab) -> None:
    absent = ProcessorSets(shared=frozenset({100_000}))
    with pytest.raises((HostError, ValueError), match=r"cpu_shared_set' configuration: .* not online"):
        await (await lab.driver(sets=absent)).facts()


async def test_a_guest_in_a_numa_cell_of_its_host(lab: Lab) -> None:
    driver = await lab.driver(sets=ProcessorSets(shared=frozenset({0})))
    cell = next(cell for cell in (await driver.facts()).topology if cell.cpus)
    claim = TopologyClaim((CellClaim(0, cell.id, 16, frozenset({0})), CellClaim(1, cell.id, 16, frozenset({1}))))
    assert (await driver.spawn(new_spec(vcpus=2, topology=claim))).power_state == RUNNING
    assert (await driver.spawn(new_spec())).power_state == RUNNING, "floats over the shared processors"


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        # Shared with others on one host, emulated on the other.
        (TopologyClaim((CellClaim(0, 0, 32, pins=((0, 0),), taken=frozenset({0})),)), "dedicated processors"),
        (TopologyClaim(devices=(DeviceClaim("ffff", "0001", 2),)), "2 devices ffff:0001"),
    ],
)
async def test_what_a_host_cannot_give_is_refused_and_nothing_is_kept(
    driver: Driver, lab: Lab, claim: TopologyClaim, said: str
) -> None:
    spec = new_spec(lab.image(), topology=claim)
    with pytest.raises(HostError, match=said):
        await driver.spawn(spec)
    assert await state_of(driver, spec.mark.server) is None
    assert lab.leftovers(spec.mark.server) == []


async def test_a_guest_from_boot_to_power_button(driver: Driver, lab: Lab, marks: Iterator[GuestMark]) -> None:
    script = base64.b64encode(b"#!/bin/sh\necho USER-DATA-RAN\n").decode()
    spec = new_spec(lab.image(), user_data=script, hostname="web1")
    server = spec.mark.server
    await driver.spawn(spec)

    (address,) = (await lab.reported(server, 60, addresses=True)).addresses
    assert (address.network, address.mac) == ("private", spec.nics[0].mac)
    shown = await console_shows(driver, server, "GUEST-READY")
    if isinstance(lab, LibvirtLab):
        assert "GUEST-CONFIGDRIVE /dev/sr0" in shown
        assert '"hostname":"web1.novalocal"' in shown
        assert "USER-DATA-RAN" in shown
        assert f"GUEST-DHCP eth0 {address.ip}/" in shown
    assert len((await driver.console_output(server, 2)).splitlines()) == 2
    assert await driver.console_output(server, 0) == ""

    # Its memory lasts over a suspension: it does not boot again.
    await driver.suspend(server, evolve(next(marks), server=server))
    await driver.resume(server, evolve(next(marks), server=server))
    assert "GUEST-BOOTS 1" in await driver.console_output(server, None)

    # The disk lasts over a soft reboot, which the guest carries out itself.
    state = await driver.reboot(server, evolve(next(marks), server=server), False, 60)
    assert state.power_state == RUNNING
    shown = await console_shows(driver, server, "GUEST-BOOTS 2")
    assert shown.count("GUEST-BOOTS") == 2
    if isinstance(lab, LibvirtLab):
        assert "GUEST-POWEROFF" in shown
