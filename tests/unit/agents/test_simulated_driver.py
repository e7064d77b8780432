"""What the simulated driver adds to the contract: faults to order, guests that outlive the process, honest capacity."""

import asyncio
from pathlib import Path
from random import Random

import pytest
from attrs import evolve

from agents.drivers.processors import ProcessorSets
from agents.drivers.simulated import Delays, Fault, SimulatedCapacity, SimulatedDriver, SimulatedHypervisor
from schemas.errors import HostError, HostFull, HypervisorDown
from schemas.guest import Address, GuestMark, GuestSpec, GuestState, NicSpec, PowerState
from schemas.topology import CellClaim, DeviceClaim, PciPool, TopologyClaim


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


def pinned(*hosts: int, also: frozenset[int] = frozenset()) -> TopologyClaim:
    return TopologyClaim((CellClaim(0, 0, 512, pins=tuple(enumerate(hosts)), taken=also.union(hosts)),))


GPU = TopologyClaim(devices=(DeviceClaim("10de", "1db1", 1, numa_node=0),))
DEDICATED = frozenset({2, 3, 4})


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (pinned(2, 3), pinned(3), r"processors \[3\] of NUMA cell 0 wanted, free: \[4\]"),
        (pinned(2, also=frozenset({3})), pinned(3), r"free: \[4\]"),
        (pinned(2), pinned(3, also=frozenset({2})), r"\[2, 3\] of NUMA cell 0 wanted, free: \[3, 4\]"),
        (pinned(2), pinned(1), r"free: \[3, 4\]"),
        (GPU, GPU, "1 devices 10de:1db1 wanted, 1 lack"),
        (GPU, TopologyClaim(devices=(DeviceClaim("10de", "1db1", 1),)), "1 lack"),
    ],
)
async def test_a_host_gives_no_processor_and_no_device_twice(
    first: TopologyClaim, second: TopologyClaim, said: str, tmp_path: Path
) -> None:
    capacity = SimulatedCapacity(
        vcpus=5, pci=(PciPool("10de", "1db1", 1, numa_node=0),), sets=ProcessorSets(dedicated=DEDICATED)
    )
    driver, _ = await started(SimulatedDriver("h", SimulatedHypervisor(tmp_path / "h.json"), capacity))
    await driver.spawn(spec(1, topology=first))
    await driver.spawn(spec(1, topology=first, mark=evolve(spec(1).mark, operation="rebuild")))
    await driver.spawn(spec(2))

    successor, _ = await started(SimulatedDriver("h", SimulatedHypervisor(tmp_path / "h.json"), capacity))
    with pytest.raises(HostFull, match=said):
        await successor.spawn(spec(3, topology=second))
    assert len(await successor.guests()) == 2
    await successor.destroy(spec(1).mark.server)
    assert (await successor.spawn(spec(3, topology=first))).power_state == PowerState.RUNNING
