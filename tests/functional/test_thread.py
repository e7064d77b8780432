"""The thin thread, whole: servers from the accepted request to the guest and back, on real etcd and NATS."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from attrs import evolve
from substrate import eventually, map_site
from thread_site import HASTY, PERSON, TINY, Host, Site, running_site, written

from agents.drivers.simulated import Fault
from control.conductor.top.builds import NO_VALID_HOST
from control.servers.history import list_actions
from control.servers.lists import list_servers
from schemas.errors import HostFull, Locked, NotFound, QuotaExceeded, WrongState
from schemas.flavor import Flavor
from schemas.guest import PowerState
from schemas.quota import QuotaUsage
from schemas.settings import BusSettings, StoreSettings

HUGE = Flavor("9", "huge", vcpus=4096, memory_mb=64, root_gb=1)


@pytest.fixture
async def site(
    request: pytest.FixtureRequest, store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path
) -> AsyncIterator[Site]:
    """`param`: how long a silent host is held for alive."""
    settings = await map_site(store_settings, bus_settings, tmp_path)
    conductor = evolve(HASTY, host_lease_ttl=getattr(request, "param", HASTY.host_lease_ttl))
    async with running_site(settings, Host("h1"), Host("h2"), conductor=conductor) as site:
        yield site


async def test_a_server_is_booted_stopped_started_rebooted_and_deleted(site: Site) -> None:
    uuid = await site.create(metadata={"role": "web"}, user_data="IyEvYmluL3NoCg==")
    found = await site.at_rest(uuid, "active")
    instance = found.instance
    assert (found.cell, instance.power_state, instance.fault) == ("cell1", PowerState.RUNNING, None)
    assert instance.launched is not None
    assert instance.host in site.hosts
    hypervisor = site.hosts[instance.host].hypervisor
    guest = hypervisor.guests[uuid]
    assert instance.addresses == guest.state.addresses
    assert instance.addresses[0].mac == instance.macs[0]
    assert await site.used() == QuotaUsage(1, 1, 512)
    assert await site.claimed() == {instance.host: {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1}}

    await site.change(uuid, "stop")
    stopped = await site.at_rest(uuid, "stopped")
    assert stopped.instance.power_state == PowerState.SHUTDOWN
    await site.change(uuid, "start")
    await site.at_rest(uuid, "active")
    for kind in ("SOFT", "HARD"):
        boots = hypervisor.guests[uuid].boots
        await site.change(uuid, "reboot", type=kind)
        await site.at_rest(uuid, "active")
        assert hypervisor.guests[uuid].boots == boots + 1
    actions = await list_actions(site.top, await site.at_rest(uuid, "active"))
    assert [a.action for a in actions] == ["reboot", "reboot", "start", "stop", "create"]
    assert {(e.result, e.finished is not None) for a in actions for e in a.events} == {("Success", True)}

    await site.delete(uuid)
    await site.gone(uuid)
    await site.books_are_empty()
    last = await list_servers(site.top, project=PERSON.project, limit=9, deleted=True)
    assert [(f.instance.uuid, f.instance.vm_state) for f in last] == [(uuid, "deleted")]


async def test_a_boot_costs_few_transactions_and_keys(site: Site) -> None:
    """Fences apart: they are raised once a shard and owner, not once a boot."""

    async def boot() -> dict[str, tuple[int, int]]:
        finished = written().get("boot finish", (0, 0))[0]
        await site.at_rest(await site.create(), "active")
        await eventually(lambda: written().get("boot finish", (0, 0))[0] == finished + 1)
        return written()

    before, after = await boot(), await boot()
    spent = {
        purpose: (done - before.get(purpose, (0, 0))[0], keys - before.get(purpose, (0, 0))[1])
        for purpose, (done, keys) in after.items()
        if done > before.get(purpose, (0, 0))[0] and purpose != "raise fence"
    }
    assert sum(done for done, _ in spent.values()) <= 6, spent
    assert sum(keys for _, keys in spent.values()) <= 20, spent


async def test_many_at_once_spread_over_the_hosts_and_fit(site: Site) -> None:
    await site.limit(instances=-1, cores=-1, ram=-1)
    small = Flavor("2", "quarter", vcpus=1, memory_mb=1 << 15, root_gb=1)  # eight fill a host, less its reserve
    uuids = await site.create_many(small, min_count=14, max_count=14)
    assert len(uuids) == 14
    found = [await site.at_rest(uuid, "active") for uuid in uuids]
    assert [f.instance.name for f in found] == [f"web-{n}" for n in range(1, 15)]
    assert len({f.instance.reservation for f in found}) == 1
    assert [len(h.hypervisor.guests) for h in site.hosts.values()] == [7, 7]

    listed = await list_servers(site.top, project=PERSON.project, limit=99)
    assert [f.instance.uuid for f in listed] == list(reversed(uuids))
    full = await site.at_rest(await site.create(small), "error")
    assert full.cell == "cell0"
    (create,) = await list_actions(site.top, full)
    (event,) = create.events
    # It bore the name of the event that a compute service has, which never saw it.
    assert (event.event, event.result, event.host) == ("conductor_schedule_and_build_instances", "Error", None)

    await asyncio.gather(*(site.delete(uuid) for uuid in [*uuids, full.instance.uuid]))
    await site.gone(*uuids, full.instance.uuid)
    await site.books_are_empty()


async def test_what_fits_no_host_rests_in_cell0_with_a_fault(site: Site) -> None:
    await site.limit(cores=-1)
    uuid = await site.create(HUGE)
    found = await site.at_rest(uuid, "error")
    assert found.cell == "cell0"
    assert found.instance.fault
    assert (found.instance.fault.code, found.instance.fault.message) == (500, NO_VALID_HOST)
    assert "0 of 2 hosts: 2 lack 4096 VCPU" in found.instance.fault.details
    assert found.instance.host is None
    assert await site.claimed() == {}
    assert await site.used() == QuotaUsage(1, 4096, 64)
    (action,) = await list_actions(site.top, found)
    assert (action.action, action.message) == ("create", "Error")
    await site.delete(uuid)
    await site.gone(uuid)
    await site.books_are_empty()


async def test_a_claim_of_none_of_the_usual_resources_is_decided_too(site: Site) -> None:
    """A flavor that overrides every class with 0, as bare-metal flavors do, broke the scheduler: the server stayed in
    scheduling for ever."""
    zero = {"resources:VCPU": "0", "resources:MEMORY_MB": "0", "resources:DISK_GB": "0"}
    metal = Flavor("3", "metal", 1, 512, 1, extra_specs={**zero, "resources:CUSTOM_METAL": "1"})
    refused = await site.at_rest(await site.create(metal), "error")
    assert refused.instance.fault
    assert "lack 1 CUSTOM_METAL" in refused.instance.fault.details
    nothing = Flavor("4", "nothing", 1, 512, 1, extra_specs=zero)
    await site.at_rest(await site.create(nothing), "active")


async def test_a_failed_spawn_is_given_back_and_another_host_taken(site: Site) -> None:
    site.hosts["h1"].faults["spawn"] = Fault(1.0, HostFull, "no space left on device")
    site.hosts["h2"].faults["spawn"] = Fault(1.0, HostFull, "no space left on device")
    uuid = await site.create()
    first = await site.until(uuid, lambda f: f.mapping.attempt == 2 or f.instance.host is not None)
    for host in site.hosts.values():
        if host.name != first.instance.host:
            host.faults.clear()
    found = await site.at_rest(uuid, "active")
    instance = found.instance
    assert (instance.attempt, instance.fault) == (2, None)
    assert await site.claimed() == {instance.host: {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1}}
    assert await site.used() == QuotaUsage(1, 1, 512)
    assert [uuid in h.hypervisor.guests for h in site.hosts.values()].count(True) == 1
    left = await site.leftovers(uuid)
    assert sorted(path.split("/")[0] for path in left if path.startswith("cell1")) == [
        "cell1: by-host",
        "cell1: instances",
    ]
    (action,) = await list_actions(site.top, found)
    assert "given back: no space left on device" in " ".join(line.text for line in action.story)
    await site.delete(uuid)
    await site.gone(uuid)
    await site.books_are_empty()


async def test_a_spawn_that_fails_everywhere_ends_in_cell0_with_its_reason(site: Site) -> None:
    for host in site.hosts.values():
        host.faults["spawn"] = Fault(1.0, HostFull, "no space left on device")
    uuid = await site.create()
    found = await site.at_rest(uuid, "error")
    assert found.cell == "cell0"
    assert found.instance.fault
    assert found.instance.fault.message == NO_VALID_HOST
    assert "no space left on device" in found.instance.fault.details
    assert await site.claimed() == {}
    await site.delete(uuid)
    await site.gone(uuid)
    await site.books_are_empty()


async def test_a_failed_command_leaves_the_server_where_it_was(site: Site) -> None:
    uuid = await site.create()
    instance = (await site.at_rest(uuid, "active")).instance
    assert instance.host
    host = site.hosts[instance.host]
    host.faults["power_off"] = Fault(1.0, message="the guest is stuck")
    await site.change(uuid, "stop")
    found = await site.until(uuid, lambda f: f.instance.task_state is None)
    assert found.instance.vm_state == "active"
    assert found.instance.fault
    assert found.instance.fault.message == "the guest is stuck"
    host.faults.clear()
    await site.change(uuid, "stop")
    assert (await site.at_rest(uuid, "stopped")).instance.fault is None


async def test_a_guest_that_stops_by_itself_is_seen(site: Site) -> None:
    uuid = await site.create()
    instance = (await site.at_rest(uuid, "active")).instance
    assert instance.host
    site.hosts[instance.host].hypervisor.set_power(uuid, PowerState.SHUTDOWN)
    assert (await site.at_rest(uuid, "stopped")).instance.power_state == PowerState.SHUTDOWN


@pytest.mark.parametrize("site", [5], indirect=True)
async def test_a_server_is_deleted_though_its_host_is_dead_and_the_host_cleans_up(site: Site) -> None:
    uuid = await site.create()
    instance = (await site.at_rest(uuid, "active")).instance
    assert instance.host
    await site.stop(instance.host)
    await site.delete(uuid)

    async def only_the_guest() -> bool:
        return await site.leftovers(uuid) == [f"guest on {instance.host}"]

    await eventually(only_the_guest)
    await site.books_are_empty()
    await site.start(instance.host)
    await site.gone(uuid)


async def test_refusals(site: Site) -> None:
    uuid = await site.create()
    await site.at_rest(uuid, "active")
    with pytest.raises(WrongState, match=f"Cannot 'start' instance {uuid} while it is in vm_state active"):
        await site.change(uuid, "start")
    with pytest.raises(NotFound, match="Instance nothing could not be found"):
        await site.delete("nothing")
    assert await site.find("nothing") is None
    for host in site.hosts.values():
        host.delays["power_off"] = 1.0
    await site.change(uuid, "stop")
    with pytest.raises(WrongState, match="while it is in task_state powering-off"):
        await site.change(uuid, "reboot", type="HARD")
    await site.at_rest(uuid, "stopped")
    assert Locked.code == WrongState.code == 409


async def test_a_quota_is_never_exceeded_and_given_back(site: Site) -> None:
    await site.limit(instances=3, cores=100, ram=-1)
    tries = await asyncio.gather(*(site.create() for _ in range(6)), return_exceptions=True)
    made = [uuid for uuid in tries if isinstance(uuid, str)]
    assert len(made) == 3
    text = "Quota exceeded for instances: Requested 1, but already used 3 of 3 instances"
    assert {str(error) for error in tries if not isinstance(error, str)} == {text}
    for uuid in made:
        await site.at_rest(uuid, "active")
    await site.delete(made[0])
    await site.gone(made[0])
    assert await site.used() == QuotaUsage(2, 2, 1024)
    again = await site.create()
    with pytest.raises(QuotaExceeded):
        await site.create()
    with pytest.raises(QuotaExceeded):
        await site.create_many(min_count=2, max_count=4)
    await site.delete(made[1])
    await site.gone(made[1])
    fewer = await site.create_many(min_count=1, max_count=4)
    assert len(fewer) == 1
    for uuid in [made[2], again, *fewer]:
        await site.delete(uuid)
    await site.gone(made[2], again, *fewer)
    await site.books_are_empty()


async def test_every_part_may_be_away_for_a_while(site: Site) -> None:
    for part in ("scheduler", "super", "conductor"):
        await site.stop(part)
        uuid = await site.create(TINY)
        await asyncio.sleep(0.2)
        await site.start(part)
        await site.at_rest(uuid, "active")
