"""Guests pinned to processors of their own on a whole site, with more asked for than there are: no processor is given
twice, none is left while somebody waits, and all come back."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from attrs import evolve
from compute_client import Client
from substrate import map_site
from thread_site import PERSON, Host, Site, running_site

from agents.drivers.processors import ProcessorSets
from agents.drivers.simulated import SimulatedCapacity
from control.api.frame import Frame
from control.compute.app import ComputeApp
from kv.keys import Global
from schemas.flavor import Flavor
from schemas.identity import Identity
from schemas.settings import BusSettings, StoreSettings
from schemas.topology import DeviceClaim, PciPool, TopologyClaim

HOSTS = ("h1", "h2")
DEDICATED = frozenset({1, 2, 3, 6, 7})
"""of each host: three in its first NUMA cell, two in the other"""
PINNED = Flavor("1", "pinned", vcpus=1, memory_mb=512, root_gb=1, extra_specs={"hw:cpu_policy": "dedicated"})
SHARED = Flavor("2", "shared", vcpus=1, memory_mb=512, root_gb=1)


class Administrator:
    """The identity service's place: any token is an administrator's of the project."""

    async def verify(self, token: str) -> Identity:
        return evolve(PERSON, roles=PERSON.roles | {"admin"})


@pytest.fixture
async def site(store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path) -> AsyncIterator[Site]:
    settings = await map_site(store_settings, bus_settings, tmp_path)
    pci = evolve(settings.pci, alias=('{"name": "gpu", "vendor_id": "10de", "product_id": "1db1"}',))
    shape = SimulatedCapacity(
        vcpus=8,
        numa_cells=2,
        pci=(PciPool("10de", "1db1", 1, numa_node=1),),
        sets=ProcessorSets(frozenset({0, 4}), DEDICATED),
    )
    async with running_site(evolve(settings, pci=pci), *(Host(name, capacity=shape) for name in HOSTS)) as site:
        await site.limit(instances=-1, cores=-1, ram=-1)
        yield site


async def rest(site: Site, uuids: list[str]) -> dict[str, TopologyClaim | None]:
    """By host and server where those lie that found a place; each guest lies where its server does."""
    found = await asyncio.gather(*(site.until(u, lambda f: f.instance.task_state is None) for u in uuids))
    placed = {f.instance.uuid: f.instance for f in found if f.instance.vm_state == "active"}
    for instance in placed.values():
        guest = site.hosts[instance.host or ""].hypervisor.guests[instance.uuid]
        assert guest.topology == (instance.topology or TopologyClaim())
    return {uuid: instance.topology for uuid, instance in placed.items()}


async def held(site: Site) -> dict[str, TopologyClaim]:
    """What the books say of every server that has something of a host's."""
    usages = await site.top.store.range(Global.USAGES.under())
    return {consumer: claim for s in usages for consumer, claim in s.value.topology.items()}


async def pinned(site: Site) -> Counter[tuple[str, int]]:
    """How often each processor of each host is given away."""
    return Counter(
        (host.name, to)
        for host in site.hosts.values()
        for guest in host.hypervisor.guests.values()
        for cell in guest.topology.cells
        for _, to in cell.pins
    )


async def test_every_dedicated_processor_is_given_once_and_given_back(site: Site) -> None:
    everything = {(host, cpu): 1 for host in HOSTS for cpu in DEDICATED}
    for _ in range(2):
        uuids = await asyncio.gather(*(site.create(PINNED) for _ in range(len(everything) + 4)), site.create(SHARED))
        *crowd, floating = uuids
        active = await rest(site, crowd)
        assert await pinned(site) == everything
        assert len(active) == len(everything)
        assert await held(site) == active
        assert await rest(site, [floating]) == {floating: None}
        assert await site.claimed() != {}

        # One goes, one comes: it gets the processor that was left.
        leaving = next(iter(active))
        await site.delete(leaving)
        await site.gone(leaving)
        late = await site.create(PINNED)
        assert (await rest(site, [late]))[late] == active[leaving]

        await asyncio.gather(*(site.delete(u) for u in {*uuids, late} - {leaving}))
        await site.gone(*uuids, late)
        assert await held(site) == {}
        await site.books_are_empty()


async def test_a_server_tells_where_its_processors_are(site: Site) -> None:
    two = evolve(PINNED, vcpus=2, extra_specs={**PINNED.extra_specs, "hw:numa_nodes": "2"})
    uuid = await site.create(two)
    claim = (await rest(site, [uuid]))[uuid]
    assert claim
    app = Frame(ComputeApp(site.top, Administrator()), deadline=30)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api.test:8774") as http:
        told = await Client(http, "any", "2.78").get(f"/servers/{uuid}/topology")
    ((_, first),), ((_, second),) = (cell.pins for cell in claim.cells)
    assert {first in {1, 2, 3}, second in {1, 2, 3}} == {True, False}
    assert told == {
        "nodes": [
            {"memory_mb": 256, "vcpu_set": [0], "host_node": first // 4, "cpu_pinning": {"0": first}},
            {"memory_mb": 256, "vcpu_set": [1], "host_node": second // 4, "cpu_pinning": {"1": second}},
        ],
        "pagesize_kb": None,
    }


async def test_every_device_is_given_once_and_given_back(site: Site) -> None:
    flavor = evolve(SHARED, extra_specs={"pci_passthrough:alias": "gpu:1"})
    uuids = await asyncio.gather(*(site.create(flavor) for _ in range(5)))
    active = await rest(site, uuids)
    assert list(active.values()) == [TopologyClaim(devices=(DeviceClaim("10de", "1db1", 1, numa_node=1),))] * len(HOSTS)
    assert await held(site) == active
    await asyncio.gather(*(site.delete(u) for u in uuids))
    await site.gone(*uuids)
    assert await held(site) == {}
