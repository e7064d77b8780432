"""One agent a machine and a state directory."""

import asyncio
from pathlib import Path

import pytest

from agents.role import AgentSetupError, by_verb, drivers_of, host_lock, hypervisor_lock, machine_id
from schemas.errors import HostError
from schemas.settings import AgentSettings, LibvirtSettings, SimulatedSettings


def test_a_state_directory_is_one_agents(tmp_path: Path) -> None:
    with host_lock(tmp_path), pytest.raises(AgentSetupError, match="another agent runs"), host_lock(tmp_path):
        pass
    with host_lock(tmp_path):
        pass


def test_a_libvirt_is_one_agents_of_a_site(tmp_path: Path) -> None:
    mine = AgentSettings(site=f"locks-{tmp_path}"[-40:], libvirt=LibvirtSettings(uri="qemu:///system"))
    other_site = AgentSettings(site="another", libvirt=mine.libvirt)
    with hypervisor_lock(mine), hypervisor_lock(other_site):
        with pytest.raises(AgentSetupError, match="another agent drives qemu:///system"), hypervisor_lock(mine):
            pass
        simulated = AgentSettings(site=mine.site, driver="simulated")
        with hypervisor_lock(simulated), hypervisor_lock(simulated):
            pass
    with hypervisor_lock(mine):
        pass


async def test_simulated_hosts_fail_and_take_their_time_as_configured() -> None:
    simulated = SimulatedSettings(
        hosts=2, failures={"facts": 1.0, "s-2:facts": 0.0}, delays={"guests": 0.0, "s-1:guests": 0.02}
    )
    one, two = (driver for _, driver in drivers_of(AgentSettings(driver="simulated", simulated=simulated), "s"))
    with pytest.raises(HostError, match="simulated failure"):
        await one.facts()
    assert (await two.facts()).hypervisor_hostname == "s-2"
    loop = asyncio.get_running_loop()
    began = loop.time()
    await one.guests()
    assert loop.time() - began >= 0.02
    with pytest.raises(AgentSetupError, match="no verb 'fly'"):
        by_verb({"s-1:fly": 1.0}, "s-1")


def test_a_machine_keeps_its_id(tmp_path: Path) -> None:
    first = machine_id(tmp_path)
    assert machine_id(tmp_path) == first
    other = tmp_path / "other"
    other.mkdir()
    assert machine_id(other) != first
