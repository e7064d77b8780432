"""One agent a machine and a state directory."""

from pathlib import Path

import pytest

from agents.role import AgentSetupError, host_lock, hypervisor_lock, machine_id
from schemas.settings import AgentSettings, LibvirtSettings


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


def test_a_machine_keeps_its_id(tmp_path: Path) -> None:
    first = machine_id(tmp_path)
    assert machine_id(tmp_path) == first
    other = tmp_path / "other"
    other.mkdir()
    assert machine_id(other) != first
