"""Services, hypervisors, zones, quotas and limits over HTTP."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from compute_client import Client

from control.top import Top
from kv.keys import Cell, Global
from kv.txn import Txn
from schemas.guest import HostFacts
from schemas.host import Alive, Host, HostMapping, Service
from schemas.identity import NameIndex
from schemas.placement import Provider, Usages

Api = Callable[..., Client]

UUID = "5f2a2b1e-0000-4000-8000-00000000000a"
SERVICE = "5f2a2b1e-0000-4000-8000-00000000000b"


@pytest.fixture
async def host(top: Top) -> str:
    """A host of cell1 as its agent and conductor would leave it."""
    now = datetime.now(UTC)
    booted = now - timedelta(days=2, hours=1)
    facts = HostFacts(8, 16384, 100, "QEMU", 8002002, "h1.example", "192.0.2.9", {"arch": "x86_64"}, booted=booted)
    cell = top.cells.store("cell1")
    txn = Txn("host").put(Cell.HOSTS("h1"), Host("h1", UUID, facts, now))
    txn.put(Cell.SERVICES("nova-compute", "h1"), Service("h1", "nova-compute", SERVICE, "m1", "s1", 1, now, now))
    txn.put(Cell.ALIVE("h1"), Alive("s1", now))
    await cell.commit(txn)
    await top.store.commit(Txn("map").create(Global.HOSTS("h1"), HostMapping("h1", "cell1", UUID)))
    return "h1"


async def test_services(api: Api, host: str) -> None:
    (service,) = (await api("admin", "2.53").get("/os-services"))["services"]
    assert {k: service[k] for k in ("id", "binary", "host", "zone", "status", "state", "forced_down")} == {
        "id": SERVICE,
        "binary": "nova-compute",
        "host": "h1",
        "zone": "nova",
        "status": "enabled",
        "state": "up",
        "forced_down": False,
    }
    (old,) = (await api("admin").get("/os-services?host=h1"))["services"]
    assert isinstance(old["id"], int)
    assert "forced_down" not in old
    assert (await api("admin").get("/os-services?binary=nova-cert"))["services"] == []


async def test_services_are_changed_by_name(api: Api, host: str) -> None:
    admin = api("admin", "2.11")
    named = {"host": "h1", "binary": "nova-compute"}
    assert (await admin.ok("PUT", "/os-services/disable", named))["service"] == {**named, "status": "disabled"}
    reasoned = await admin.ok("PUT", "/os-services/disable-log-reason", {**named, "disabled_reason": "broken fan"})
    assert reasoned["service"]["disabled_reason"] == "broken fan"
    assert (await admin.get("/os-services"))["services"][0]["disabled_reason"] == "broken fan"
    assert (await admin.ok("PUT", "/os-services/enable", named))["service"]["status"] == "enabled"
    down = await admin.ok("PUT", "/os-services/force-down", {**named, "forced_down": True})
    assert down["service"] == {**named, "forced_down": True}
    assert (await admin.get("/os-services"))["services"][0]["state"] == "down"
    await admin.refused(404, "PUT", "/os-services/enable", {**named, "host": "none"})
    await admin.refused(404, "PUT", "/os-services/fly", named)
    await api("admin").refused(404, "PUT", "/os-services/force-down", named)


async def test_services_are_changed_by_uuid(api: Api, host: str) -> None:
    admin = api("admin", "2.53")
    path = f"/os-services/{SERVICE}"
    changed = await admin.ok("PUT", path, {"status": "disabled", "disabled_reason": "x"})
    assert (changed["service"]["status"], changed["service"]["disabled_reason"]) == ("disabled", "x")
    assert (await admin.ok("PUT", path, {"forced_down": True}))["service"]["forced_down"] is True
    await admin.refused(400, "PUT", path, {})
    await admin.refused(400, "PUT", path, {"disabled_reason": "x"})
    await admin.refused(400, "PUT", "/os-services/enable", {"status": "enabled"})
    await admin.refused(404, "PUT", f"/os-services/{UUID}", {"status": "enabled"})


async def test_a_service_is_deleted_with_its_host(api: Api, top: Top, host: str) -> None:
    admin = api("admin", "2.53")
    await admin.refused(400, "DELETE", "/os-services/1")
    await admin.refused(404, "DELETE", f"/os-services/{UUID}")
    await api("admin").refused(400, "DELETE", f"/os-services/{SERVICE}")
    await admin.ok("DELETE", f"/os-services/{SERVICE}", code=204)
    assert (await admin.get("/os-services"))["services"] == []
    assert (await admin.get("/os-hypervisors"))["hypervisors"] == []
    assert await top.cells.store("cell1").get(Cell.SERVICES("nova-compute", "h1")) is None
    await admin.refused(404, "DELETE", f"/os-services/{SERVICE}")


async def test_a_service_whose_host_is_in_use_stays(api: Api, top: Top, host: str) -> None:
    """A claim that is made while the service is deleted rewrites the usages, so one of the two loses."""
    provider = Provider(UUID, "h1.example", {}, host="h1", cell="cell1")
    txn = (
        Txn("given claim")
        .put(Global.PROVIDERS(UUID), provider)
        .put(Global.PROVIDER_NAMES("h1.example"), NameIndex(UUID))
    )
    await top.store.commit(txn.put(Global.USAGES(UUID), Usages({"VCPU": 1})))
    old = api("admin")
    (service,) = (await old.get("/os-services"))["services"]
    assert await old.refused(409, "DELETE", f"/os-services/{service['id']}") == (
        "Unable to delete compute service that is hosting instances. Migrate or delete the instances first."
    )
    await top.store.commit(Txn("free").put(Global.USAGES(UUID), Usages()))
    await old.ok("DELETE", f"/os-services/{service['id']}", code=204)
    assert await top.store.get(Global.PROVIDERS(UUID)) is None
    assert await top.store.get(Global.PROVIDER_NAMES("h1.example")) is None, "a new machine may bear the name"


async def test_hypervisors_tell_uptime_instead_of_sizes_since_2_88(api: Api, host: str) -> None:
    old, new = api("admin", "2.87"), api("admin", "2.88")
    sizes = {"vcpus", "memory_mb", "running_vms", "current_workload", "free_ram_mb", "local_gb_used", "cpu_info"}
    before = (await old.get(f"/os-hypervisors/{UUID}"))["hypervisor"]
    after = (await new.get(f"/os-hypervisors/{UUID}"))["hypervisor"]
    assert sizes <= set(before)
    assert set(before) & set(after) == {
        *("id", "hypervisor_hostname", "state", "status"),
        *("hypervisor_type", "hypervisor_version", "host_ip", "service"),
    }
    assert re.fullmatch(r" \d\d:\d\d:\d\d up 2 days,  1:0\d", after["uptime"])
    assert (await old.get(f"/os-hypervisors/{UUID}/uptime"))["hypervisor"]["uptime"] == after["uptime"]
    await new.refused(404, "GET", f"/os-hypervisors/{UUID}/uptime")
    await new.refused(404, "GET", "/os-hypervisors/statistics")
    await api("admin", "2.53").ok("PUT", f"/os-services/{SERVICE}", {"forced_down": True})
    assert (await new.get(f"/os-hypervisors/{UUID}"))["hypervisor"]["uptime"] is None
    await old.refused(400, "GET", f"/os-hypervisors/{UUID}/uptime")


async def test_hypervisors(api: Api, host: str) -> None:
    new, old = api("admin", "2.53"), api("admin")
    (brief,) = (await new.get("/os-hypervisors"))["hypervisors"]
    assert brief == {"id": UUID, "hypervisor_hostname": "h1.example", "state": "up", "status": "enabled"}
    full = (await new.get(f"/os-hypervisors/{UUID}"))["hypervisor"]
    assert (full["vcpus"], full["memory_mb"], full["cpu_info"]) == (8, 16384, {"arch": "x86_64"})
    assert full["service"] == {"id": SERVICE, "host": "h1", "disabled_reason": None}
    (listed,) = (await old.get("/os-hypervisors/detail"))["hypervisors"]
    assert listed["cpu_info"] == '{"arch":"x86_64"}'
    assert (await old.get(f"/os-hypervisors/{listed['id']}"))["hypervisor"] == listed
    assert (await new.get("/os-hypervisors/statistics"))["hypervisor_statistics"]["vcpus"] == 8
    assert len((await new.get("/os-hypervisors?hypervisor_hostname_pattern=h1&with_servers=true"))["hypervisors"]) == 1
    await new.refused(404, "GET", "/os-hypervisors?hypervisor_hostname_pattern=zz")
    assert len((await old.get("/os-hypervisors/h1/search"))["hypervisors"]) == 1
    assert "servers" not in (await old.get("/os-hypervisors/h1/servers"))["hypervisors"][0]
    await new.refused(404, "GET", "/os-hypervisors/h1/search")
    assert await new.get("/os-aggregates") == {"aggregates": []}
    await api().refused(403, "GET", "/os-hypervisors")


async def test_zones(api: Api, host: str) -> None:
    (zone,) = (await api().get("/os-availability-zone"))["availabilityZoneInfo"]
    assert zone == {"zoneName": "nova", "zoneState": {"available": True}, "hosts": None}
    (detail,) = (await api("admin").get("/os-availability-zone/detail"))["availabilityZoneInfo"]
    assert detail["hosts"]["h1"]["nova-compute"]["available"] is True
    await api().refused(403, "GET", "/os-availability-zone/detail")


async def test_quotas(api: Api) -> None:
    admin, member = api("admin", "2.57"), api(version="2.57")
    path = "/os-quota-sets/project-demo"
    shown = (await member.get(path))["quota_set"]
    assert shown == {
        "id": "project-demo",
        "instances": 10,
        "cores": 20,
        "ram": 51200,
        "metadata_items": 128,
        "key_pairs": 100,
        "server_groups": 10,
        "server_group_members": 10,
    }
    changed = await admin.ok("PUT", path, {"quota_set": {"instances": 3, "cores": -1}})
    assert (changed["quota_set"]["instances"], changed["quota_set"]["cores"]) == (3, -1)
    assert (await member.get(f"{path}/detail"))["quota_set"]["instances"] == {"limit": 3, "in_use": 0, "reserved": 0}
    assert (await member.get(f"{path}/defaults"))["quota_set"]["instances"] == 10
    await admin.refused(400, "PUT", path, {"quota_set": {"floating_ips": 1}})
    await member.refused(403, "PUT", path, {"quota_set": {"instances": 5}})
    await member.refused(403, "GET", "/os-quota-sets/project-other")
    await admin.ok("DELETE", path, code=202)
    assert (await member.get(path))["quota_set"]["instances"] == 10
    old = (await api().get(path))["quota_set"]
    assert {"floating_ips", "injected_files"} <= set(old)


async def test_a_quota_below_its_use_is_forced_or_refused(api: Api, asked: dict[str, str]) -> None:
    await api(version="2.37").ok("POST", "/servers", {"server": asked}, 202)
    admin, path = api("admin"), "/os-quota-sets/project-demo"
    assert await admin.refused(400, "PUT", path, {"quota_set": {"instances": 0}}) == (
        "Quota limit 0 for instances must be greater than or equal to already used and reserved 1."
    )
    await admin.ok("PUT", path, {"quota_set": {"instances": 0, "force": True}})


async def test_the_default_class(api: Api) -> None:
    admin = api("admin", "2.57")
    await admin.ok("PUT", "/os-quota-class-sets/default", {"quota_class_set": {"instances": 7}})
    assert (await admin.get("/os-quota-class-sets/default"))["quota_class_set"]["instances"] == 7
    assert (await api().get("/os-quota-sets/project-demo"))["quota_set"]["instances"] == 7


async def test_limits(api: Api, asked: dict[str, str]) -> None:
    await api(version="2.37").ok("POST", "/servers", {"server": asked}, 202)
    absolute = (await api(version="2.57").get("/limits"))["limits"]["absolute"]
    assert absolute["maxTotalInstances"] == 10
    assert (absolute["totalInstancesUsed"], absolute["totalCoresUsed"], absolute["totalRAMUsed"]) == (1, 1, 512)
    assert not {"maxImageMeta", "maxPersonality", "maxTotalFloatingIps"} & set(absolute)
    assert {"maxImageMeta", "maxPersonality", "maxTotalFloatingIps"} <= set(
        (await api().get("/limits"))["limits"]["absolute"]
    )
    await api().refused(403, "GET", "/limits?tenant_id=project-other")
    await api("admin").get("/limits?tenant_id=project-demo")


async def test_an_unknown_marker_is_refused(api: Api, host: str) -> None:
    admin = api("admin", "2.58")
    for path in ("/os-hypervisors", "/os-keypairs", "/os-simple-tenant-usage"):
        assert await admin.refused(400, "GET", f"{path}?marker=x") == "Marker x could not be found."


async def test_a_hypervisor_is_named_by_its_uuid(api: Api, host: str) -> None:
    assert await api("admin", "2.53").refused(400, "GET", "/os-hypervisors/h1") == "Invalid uuid h1"
    await api("admin", "2.52").refused(404, "GET", "/os-hypervisors/h1")
    await api("admin", "2.53").refused(404, "GET", f"/os-hypervisors/{SERVICE}")


async def test_extensions(api: Api) -> None:
    aliases = {e["alias"] for e in (await api().get("/extensions"))["extensions"]}
    assert "os-keypairs" in aliases
    assert (await api().get("/extensions/os-keypairs"))["extension"]["name"] == "Keypairs"
    await api().refused(404, "GET", "/extensions/none")
