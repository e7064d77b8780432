"""An administrator's password travels encrypted from the request to the host that tells it to the guest."""

from pathlib import Path

import pytest
from leaks import PLANTED
from substrate import map_site
from thread_site import Host, running_site

from agents.drivers.simulated import SimulatedDriver
from control.servers.find import instance_key
from schemas.errors import HostError
from schemas.guest import GuestSpec, GuestState
from schemas.settings import BusSettings, StoreSettings

PASSWORD = f"correct horse {PLANTED}"


async def test_only_the_host_sees_it(
    store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str | None] = []
    spawn = SimulatedDriver.spawn

    async def watched(driver: SimulatedDriver, spec: GuestSpec) -> GuestState:
        told.append(spec.admin_password)
        if len(told) == 1:
            raise HostError("the first attempt fails, so the build is given back and placed anew")
        return await spawn(driver, spec)

    monkeypatch.setattr(SimulatedDriver, "spawn", watched)
    settings = await map_site(store_settings, bus_settings, tmp_path)
    async with running_site(settings, Host("h1"), Host("h2")) as site:
        sealed = site.top.key.encrypt(PASSWORD.encode())
        uuid = await site.create(config_drive=True, admin_password=sealed)
        found = await site.until(uuid, lambda f: f.instance.vm_state == "active", 30)
        assert told == [PASSWORD, PASSWORD]
        stored = await site.top.cells.store("cell1").get(instance_key(found.instance))
        assert stored is not None
        kept = stored.value.admin_password
        assert kept not in (None, sealed, PASSWORD)
        assert site.top.key.of_cell("cell1").decrypt(str(kept)).decode() == PASSWORD
