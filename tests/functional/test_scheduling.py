"""Server groups, zones and disabled hosts on a whole site: what a claim holds, what its failure and end give back."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from substrate import eventually, map_site
from thread_site import PERSON, TINY, Host, Site, running_site, written

from agents.drivers.simulated import Fault
from control.cells.aggregates import add_host, create_aggregate
from control.cells.hosts import set_host
from control.manage.explain import Asked, explain_placement
from control.placement.forest import SHARING
from control.placement.resources import with_claim
from control.servers.groups import create_group, delete_group, get_group
from kv.keys import Cell, Global
from kv.txn import Txn
from runtime import ambient
from schemas.errors import HostFull, NotFound
from schemas.flavor import Flavor
from schemas.group import Policy, ServerGroup
from schemas.messages import Explain, Explained
from schemas.placement import Inventory, Provider, Usages
from schemas.settings import BusSettings, StoreSettings
from schemas.subjects import SCHEDULER_EXPLAIN

HOSTS = ("h1", "h2", "h3")


@pytest.fixture
async def site(store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path) -> AsyncIterator[Site]:
    settings = await map_site(store_settings, bus_settings, tmp_path)
    async with running_site(settings, *(Host(name) for name in HOSTS)) as site:
        await site.limit(instances=-1, cores=-1, ram=-1, server_group_members=-1)
        yield site


async def group_of(site: Site, policy: Policy, limit: int | None = None) -> str:
    group = ServerGroup(ambient.new_uuid(), "g", PERSON.project, PERSON.user, policy, ambient.now(), limit)
    await create_group(site.top, group)
    return group.uuid


async def hosts_of(site: Site, uuids: Iterable[str]) -> list[str | None]:
    """Where they run, None for those that found no host."""
    found = await asyncio.gather(*(site.until(u, lambda f: f.instance.task_state is None, seconds=30) for u in uuids))
    return [f.instance.host for f in found]


async def members(site: Site, group: str) -> dict[str, tuple[str, ...]]:
    return (await get_group(site.top, group)).members


async def test_anti_affinity_holds_under_a_crowd_and_is_given_back(site: Site) -> None:
    group = await group_of(site, "anti-affinity")
    uuids = [await site.create(group=group) for _ in range(5)]
    hosts = await hosts_of(site, uuids)
    assert Counter(hosts) == {"h1": 1, "h2": 1, "h3": 1, None: 2}
    assert await members(site, group) == {u: (h,) if h else () for u, h in zip(uuids, hosts, strict=True)}
    (homeless, *_) = [u for u, h in zip(uuids, hosts, strict=True) if h is None]
    fault = (await site.at_rest(homeless, "error")).instance.fault
    assert fault
    assert fault.details == "0 of 3 hosts: 3 full of the group's other servers"
    freed = uuids[hosts.index("h2")]
    await asyncio.gather(site.delete(freed), site.delete(homeless))
    await site.gone(freed, homeless)
    assert await members(site, group) == {
        u: (h,) if h else () for u, h in zip(uuids, hosts, strict=True) if u not in (freed, homeless)
    }
    (again,) = await hosts_of(site, [await site.create(group=group)])
    assert again == "h2"

    ruled = await group_of(site, "anti-affinity", limit=2)
    assert Counter(await hosts_of(site, await site.create_many(group=ruled, min_count=7, max_count=7))) == {
        "h1": 2,
        "h2": 2,
        "h3": 2,
        None: 1,
    }


async def test_affinity_holds_and_soft_anti_affinity_spreads(site: Site) -> None:
    close, far = [await group_of(site, p) for p in ("affinity", "soft-anti-affinity")]
    spread = await hosts_of(site, await site.create_many(group=far, min_count=6, max_count=6))
    assert Counter(spread) == dict.fromkeys(HOSTS, 2)
    uuids = await asyncio.gather(*(site.create(group=close) for _ in range(4)))
    assert len(set(await hosts_of(site, uuids))) == 1
    await delete_group(site.top, close)
    await asyncio.gather(*(site.delete(u) for u in uuids))
    await site.gone(*uuids)


async def test_a_build_that_fails_leaves_its_place_in_the_group(site: Site) -> None:
    group = await group_of(site, "anti-affinity")
    site.hosts["h1"].faults["spawn"] = site.hosts["h2"].faults["spawn"] = Fault(1.0, HostFull, "no space left")
    uuid = await site.create(group=group)
    assert await hosts_of(site, [uuid]) == ["h3"]
    assert await members(site, group) == {uuid: ("h3",)}


async def test_a_host_whose_builds_fail_sinks_until_one_succeeds(site: Site) -> None:
    """Nova's BuildFailureWeigher: it outweighs any room."""
    site.hosts["h1"].faults["spawn"] = Fault(1.0, HostFull, "no space left")
    await hosts_of(site, [await site.create() for _ in range(6)])
    store = site.top.cells.store("cell1")
    assert [s.key.path for s in await store.range(Cell.FAILED_BUILDS.under())] == ["failed-builds/h1"]
    site.hosts["h1"].faults.clear()
    assert "h1" not in await hosts_of(site, [await site.create() for _ in range(4)])
    assert await hosts_of(site, [await site.create(forced_host="h1")]) == ["h1"]
    assert await store.range(Cell.FAILED_BUILDS.under()) == []
    assert await hosts_of(site, [await site.create()]) == ["h1"]


async def test_no_claim_lands_on_a_host_after_it_was_disabled(site: Site) -> None:
    """Builds are under way all the time; whoever was claimed on the host was so before the answer."""

    async def on_h1() -> set[str]:
        found = await site.top.store.range(Global.ALLOCATIONS.under())
        mapping = await site.top.store.get(Global.HOSTS("h1"))
        assert mapping
        return {s.value.consumer for s in found if mapping.value.uuid in s.value.resources}

    for turn in range(4):
        creating = [asyncio.create_task(site.create()) for _ in range(12)]
        await asyncio.wait(creating, return_when=asyncio.FIRST_COMPLETED)
        if turn % 2:
            await set_host(site.top, "h1", forced_down=True)
        else:
            await set_host(site.top, "h1", disabled=True)
        claimed = await on_h1()
        uuids = await asyncio.gather(*creating)
        await hosts_of(site, uuids)
        assert await on_h1() == claimed
        await set_host(site.top, "h1", disabled=False, forced_down=False)


async def test_a_boot_without_a_group_costs_nothing_for_groups(site: Site) -> None:
    """Neither a key nor a transaction more than it did before there were groups, aggregates and zones."""

    async def boot() -> dict[str, tuple[int, int]]:
        finished = written().get("boot finish", (0, 0))[0]
        await site.at_rest(await site.create(), "active")
        await eventually(lambda: written().get("boot finish", (0, 0))[0] == finished + 1)
        return written()

    before, after = await boot(), await boot()
    assert {p: after[p][1] - before[p][1] for p in ("accept server", "claim")} == {"accept server": 7, "claim": 3}
    grouped = await site.create(group=await group_of(site, "affinity"))
    await site.at_rest(grouped, "active")


async def test_zones_and_hosts_that_serve(site: Site) -> None:
    zone = await create_aggregate(site.top, "one", "az1")
    for host in ("h1", "h2"):
        await add_host(site.top, zone.id, host)

    async def booted(**draft: Any) -> tuple[str | None, str | None]:
        found = await site.until(await site.create(**draft), lambda f: f.instance.task_state is None)
        return found.instance.host, found.instance.availability_zone

    assert {await booted(availability_zone="az1") for _ in range(3)} <= {("h1", "az1"), ("h2", "az1")}
    assert await booted(availability_zone="nova") == ("h3", "nova")
    assert await booted(forced_host="h2") == ("h2", "az1")
    await set_host(site.top, "h1", disabled=True)
    await set_host(site.top, "h3", forced_down=True)
    assert {await booted() for _ in range(3)} == {("h2", "az1")}
    await site.stop("h2")
    silent = await site.create()
    await site.run_out("h2")
    waiting = await site.create()  # h2 is only silent: no refusal for that is final
    await set_host(site.top, "h2", forced_down=True)
    await site.until(silent, lambda f: f.instance.task_state is None)
    last = await site.at_rest(waiting, "error")
    assert last.instance.fault
    assert set(last.instance.fault.details.removeprefix("0 of 3 hosts: ").split(", ")) == {
        "1 disabled",
        "2 forced down",
    }


async def test_a_server_takes_of_a_child_and_of_a_pool_that_shares(site: Site) -> None:
    """Two of the hosts share licences; the card is h2's."""
    store, rack = site.top.store, ambient.new_uuid()
    own = {m.value.host: m.value.uuid for m in await store.range(Global.HOSTS.under())}
    card, pool = ambient.new_uuid(), ambient.new_uuid()
    txn = Txn("providers")
    for provider in (
        Provider(card, "card", {"VGPU": Inventory(1)}, parent=own["h2"]),
        Provider(pool, "pool", {"CUSTOM_LICENCE": Inventory(2)}, frozenset({SHARING}), aggregates=frozenset({rack})),
    ):
        txn.create(Global.PROVIDERS(provider.uuid), provider).create(Global.USAGES(provider.uuid), Usages())
    for host in ("h1", "h2"):
        provider, usages = await store.read(Global.PROVIDERS(own[host]), Global.USAGES(own[host]))
        assert provider
        assert usages
        txn.replace(provider, evolve(provider.value, aggregates=frozenset({rack})))
        txn.replace(usages, with_claim(usages.value, {}))
    await store.commit(txn)
    licensed = Flavor("8", "one", vcpus=1, memory_mb=64, root_gb=1, extra_specs={"resources:CUSTOM_LICENCE": "1"})
    with_card = evolve(licensed, id="9", extra_specs={**licensed.extra_specs, "resources:VGPU": "1"})
    chosen = await site.create(with_card)
    assert await hosts_of(site, [chosen]) == ["h2"]
    held = await store.get(Global.ALLOCATIONS(chosen))
    assert held
    assert held.value.resources == {
        own["h2"]: {"VCPU": 1, "MEMORY_MB": 64, "DISK_GB": 1},
        card: {"VGPU": 1},
        pool: {"CUSTOM_LICENCE": 1},
    }
    assert await hosts_of(site, [await site.create(with_card)]) == [None], "there is one card"
    others = [await site.create(licensed) for _ in range(3)]
    found = await hosts_of(site, others)
    assert (found.count(None), found.count("h3")) == (2, 0), "the pool holds one more"
    await asyncio.gather(*(site.delete(u) for u in (chosen, *others)))
    await site.gone(chosen, *others)
    freed = await store.read_all([Global.USAGES(uuid) for uuid in (card, pool, *own.values())])
    assert all(usages and usages.value.used == {} for usages in freed)


async def test_a_refusal_is_explained_to_operators(site: Site, tmp_path: Path) -> None:
    """By the scheduler over the bus, and by the command from the stores alone."""
    await site.top.store.commit(Txn("flavor").put(Global.FLAVORS(TINY.id), TINY))
    uuid = await site.create(Flavor("9", "huge", vcpus=4096, memory_mb=64, root_gb=1))
    await site.at_rest(uuid, "error")
    stored = await site.top.store.get(Global.SPECS(uuid))
    assert stored
    told = await site.top.bus.request(SCHEDULER_EXPLAIN, Explain(stored.value), Explained, 5)
    (why,) = told.obstacles
    assert (told.hosts, told.fitting, why.reason, why.removed, why.alone) == (3, 0, "lack 4096 VCPU", 3, 3)
    command = asyncio.to_thread(explain_placement, site.settings, Asked(uuid))
    assert await command is False
    await site.stop("scheduler")
    assert await asyncio.to_thread(explain_placement, site.settings, Asked(flavor="tiny")) is True
    with pytest.raises(NotFound):
        await asyncio.to_thread(explain_placement, site.settings, Asked("unknown"))
