"""Devices for guests that are made at the same time: what one has chosen no other chooses, before anything runs."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from types import SimpleNamespace
from typing import Any

from attrs import evolve
from driver_labs import new_spec
from unit_host_shapes import DEVICES

from agents.drivers.devices import device_specs
from agents.drivers.libvirt.domain_xml import GuestFiles
from agents.drivers.libvirt.driver import LibvirtDriver
from agents.drivers.libvirt.node_devices import addresses_in
from schemas.errors import HostFull
from schemas.guest import GuestSpec
from schemas.settings import LibvirtSettings
from schemas.topology import DeviceClaim, TopologyClaim

CARD = TopologyClaim(devices=(DeviceClaim("10de", "1db1", 1, numa_node=1),))
FILES = GuestFiles(Path("/g/disk"), None, None, None, Path("/g/console.log"))


def described(xml: str) -> SimpleNamespace:
    """A domain or a device."""
    return SimpleNamespace(XMLDesc=lambda _flags: xml)


def new_machine() -> SimpleNamespace:
    """As much of libvirt as choosing devices takes. To define a domain takes it a while."""
    domains: list[SimpleNamespace] = []

    def define(xml: str) -> SimpleNamespace:
        sleep(0.01)
        domains.append(described(xml))
        return domains[-1]

    return SimpleNamespace(
        domains=domains,
        listAllDevices=lambda _flags: [described(xml) for xml in DEVICES],
        listAllDomains=lambda _flags: list(domains),
        defineXML=define,
    )


class Definer(LibvirtDriver):
    """Guests are defined and no more."""

    def define(self, handle: Any, spec: GuestSpec) -> str:
        self._define(handle, spec, FILES, "qemu")
        return spec.mark.server


def test_guests_made_at_once_share_no_device() -> None:
    machine, start = new_machine(), threading.Barrier(6)
    driver = Definer(LibvirtSettings(disk_cache="none"), None, device_specs(['{"vendor_id": "10de"}']))

    def make(_: int) -> str | None:
        spec = evolve(new_spec(), topology=CARD)
        start.wait()
        try:
            return driver.define(machine, spec)
        except HostFull:
            return None

    with ThreadPoolExecutor(6) as threads:
        made = list(threads.map(make, range(6)))
    given = [address for domain in machine.domains for address in addresses_in(domain.XMLDesc(0))]
    assert sorted(given) == ["0000:81:00.0", "0000:82:00.0"]
    assert sum(server is not None for server in made) == len(machine.domains) == 2

    machine.domains.pop()
    assert driver.define(machine, evolve(new_spec(), topology=CARD))
    assert len(machine.domains) == 2
