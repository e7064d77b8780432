"""What the simulated driver adds to the contract: faults to order, guests that outlive the process, honest capacity."""

import asyncio
from pathlib import Path
from random import Random

import pytest
from attrs import evolve

from agents.drivers.simulated import Delays, Fault, SimulatedCapacity, SimulatedDriver, SimulatedHypervisor
from schemas.errors import HostError, HostFull, HypervisorDown
from schemas.guest import Address, GuestMark, GuestSpec, GuestState, NicSpec, PowerState


def spec(number: int = 1, **changes: object) -> GuestSpec:
    server = f"00000000-0000-0000-0000-{number:012d}"
    made = GuestSpec(
        mark=GuestMark("site-a", server, "p1", 1, f"op-{number}"),
        instance_name=f"instance-{number:08x}",
        name="n",
        hostname="n",
        user="u",
        vcpus=1,
        memory_mb=512,
        root_gb=5,
        ephemeral_gb=0,
        swap_mb=0,
        image=None,
        nics=(NicSpec(f"fa:16:3e:00:01:{number:02x}"),),
    )
    return evolve(made, **changes)  # type: ignore[arg-type]


async def started(driver: SimulatedDriver) -> tuple[SimulatedDriver, list[GuestState]]:
    reports: list[GuestState] = []
    await driver.start(reports.append)
    return driver, reports


async def test_guests_survive_the_process_in_their_state_file(tmp_path: Path) -> None:
    """A kill between two commands: nothing is closed, another process reads the file."""
    file = tmp_path / "host-1.json"
    driver, _ = await started(SimulatedDriver("h", SimulatedHypervisor(file)))
    await driver.spawn(spec(1))
    await driver.spawn(spec(2))
    stopped = await driver.power_off(spec(1).mark.server, evolve(spec(1).mark, generation=2), 0)
    await driver.spawn(spec(3))
    await driver.destroy(spec(3).mark.server)

    successor, _ = await started(SimulatedDriver("h", SimulatedHypervisor(file)))
    assert await successor.guests() == await driver.guests()
    assert (await successor.guests())[0] == stopped
    assert await successor.console_output(spec(2).mark.server, 1) == "GUEST-READY\n"


async def test_addresses_come_with_the_start_or_later_as_ordered() -> None:
    address = Address("private", "fa:16:3e:00:01:01", "10.0.1.1")
    driver, reports = await started(SimulatedDriver("h"))
    assert (await driver.spawn(spec())).addresses == (address,)
    assert [state.addresses for state in reports] == [(address,)]

    driver, reports = await started(SimulatedDriver("h", delays=Delays(address=0.0)))
    assert (await driver.spawn(spec())).addresses == ()
    await asyncio.sleep(0.01)
    assert [state.addresses for state in reports] == [(), (address,)]


async def test_a_seed_replays_its_failures() -> None:
    async def story(seed: int) -> list[bool]:
        faults = {"spawn": Fault(0.5)}
        driver, _ = await started(SimulatedDriver("h", faults=faults, random=Random(seed)))  # type: ignore[arg-type]
        outcomes = []
        for number in range(30):
            try:
                await driver.spawn(spec(number))
                outcomes.append(True)
            except HostError:
                outcomes.append(False)
        return outcomes

    assert await story(7) == await story(7)
    assert len({*await story(7)}) == 2
    assert await story(7) != await story(8)


@pytest.mark.parametrize(("late", "left"), [(False, 0), (True, 1)])
async def test_a_late_fault_fails_after_it_took_effect(late: bool, left: int) -> None:
    driver, _ = await started(SimulatedDriver("h", faults={"spawn": Fault(1.0, HypervisorDown, late=late)}))
    with pytest.raises(HypervisorDown):
        await driver.spawn(spec())
    assert len(await driver.guests()) == left


@pytest.mark.parametrize("wanted", [{"memory_mb": 1025}, {"root_gb": 11}, {"ephemeral_gb": 6}])
async def test_a_host_never_runs_more_than_it_has(wanted: dict[str, int]) -> None:
    capacity = SimulatedCapacity(memory_mb=1024, local_gb=10)
    driver, _ = await started(SimulatedDriver("h", capacity=capacity))
    with pytest.raises(HostFull):
        await driver.spawn(spec(1, **wanted))
    await driver.spawn(spec(2))
    await driver.spawn(spec(2))
    await driver.spawn(spec(3))
    with pytest.raises(HostFull):
        await driver.spawn(spec(4))

    generous, _ = await started(SimulatedDriver("h", driver.hypervisor, evolve(capacity, overcommit=1.5)))
    assert (await generous.spawn(spec(4))).power_state == PowerState.RUNNING
