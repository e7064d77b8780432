"""What only old versions have, and what no version has any more, over HTTP."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest
from compute_client import Client

from control.top import Top
from kv.keys import Cell, Global
from kv.txn import Txn
from schemas.guest import HostFacts
from schemas.host import Alive, Host, HostMapping, Service
from schemas.placement import Usages
from schemas.server import Instance

Api = Callable[..., Client]


@pytest.fixture
async def host(top: Top) -> str:
    """h1, alive, with two VCPUs claimed; h2, whose agent never came."""
    now, uuids = datetime.now(UTC), {"h1": "5f2a2b1e-0000-4000-8000-00000000000a", "h2": "5f2a2b1e-0000-4000-8000-0002"}
    facts = HostFacts(8, 16384, 100, "QEMU", 8002002, "h1.example", "192.0.2.9")
    txn = Txn("host").put(Cell.HOSTS("h1"), Host("h1", uuids["h1"], facts, now))
    txn.put(Cell.SERVICES("nova-compute", "h1"), Service("h1", "nova-compute", "s", "m1", "s1", 1, now, now))
    await top.cells.store("cell1").commit(txn.put(Cell.ALIVE("h1"), Alive("s1", now)))
    shared = Txn("map").put(Global.USAGES(uuids["h1"]), Usages({"VCPU": 2, "MEMORY_MB": 512}))
    for name, uuid in uuids.items():
        shared.put(Global.HOSTS(name), HostMapping(name, "cell1", uuid))
    await top.store.commit(shared)
    return "h1"


async def test_a_host_tells_what_it_has_and_who_uses_it(
    api: Api, host: str, place: Callable[..., Awaitable[Instance]]
) -> None:
    for project in ("project-demo", "project-demo", "project-other"):
        await place(project=project)
    lines = [line["resource"] for line in (await api("admin").get("/os-hosts/h1"))["host"]]
    assert {line.pop("host") for line in lines} == {"h1"}
    assert lines == [
        {"project": "(total)", "cpu": 8, "memory_mb": 16384, "disk_gb": 100},
        {"project": "(used_now)", "cpu": 2, "memory_mb": 512, "disk_gb": 0},
        {"project": "(used_max)", "cpu": 3, "memory_mb": 1536, "disk_gb": 3},
        {"project": "project-demo", "cpu": 2, "memory_mb": 1024, "disk_gb": 2},
        {"project": "project-other", "cpu": 1, "memory_mb": 512, "disk_gb": 1},
    ]


async def test_hosts_are_listed_by_zone_and_disabled(api: Api, host: str) -> None:
    admin = api("admin", "2.42")
    h1, h2 = ({"host_name": name, "service": "compute", "zone": "nova"} for name in ("h1", "h2"))
    assert (await admin.get("/os-hosts"))["hosts"] == [h1, h2]
    assert (await admin.get("/os-hosts?zone=nova"))["hosts"] == [h1, h2]
    assert (await admin.get("/os-hosts?zone=east"))["hosts"] == []
    assert await admin.ok("PUT", "/os-hosts/h1", {"status": "Disable"}) == {"host": "h1", "status": "disabled"}
    assert (await admin.get("/os-hosts"))["hosts"] == [h2]
    assert await admin.ok("PUT", "/os-hosts/h1", {"status": "enable"}) == {"host": "h1", "status": "enabled"}


async def test_what_hosts_cannot_do_and_who_may_ask(api: Api, host: str) -> None:
    admin = api("admin")
    await admin.refused(400, "PUT", "/os-hosts/h1", {})
    await admin.refused(400, "PUT", "/os-hosts/h1", {"status": "on"})
    await admin.refused(501, "PUT", "/os-hosts/h1", {"maintenance_mode": "enable"})
    for action in ("startup", "shutdown", "reboot"):
        await admin.refused(501, "GET", f"/os-hosts/h1/{action}")
        await admin.refused(404, "GET", f"/os-hosts/none/{action}")
        assert await admin.refused(400, "GET", f"/os-hosts/h2/{action}") == (
            "Compute service of h2 is unavailable at this time."
        )
    assert await admin.refused(404, "GET", "/os-hosts/none") == "Compute host none could not be found."
    assert await admin.refused(404, "PUT", "/os-hosts/none", {"status": "enable"}) == "Host none could not be found."
    await api().refused(403, "GET", "/os-hosts")
    await api("admin", "2.43").refused(404, "GET", "/os-hosts")


async def test_no_host_runs_audits_of_usage(api: Api, host: str) -> None:
    admin = api("admin")
    told = (await admin.get("/os-instance_usage_audit_log/2026-03-15%2010:00:00"))["instance_usage_audit_log"]
    assert (told["period_beginning"], told["period_ending"]) == ("2026-02-01 00:00:00", "2026-03-01 00:00:00")
    assert (told["hosts_not_run"], told["overall_status"]) == (["h1", "h2"], "0 of 2 hosts done. 0 errors.")
    january = (await admin.get("/os-instance_usage_audit_log/2026-01-01"))["instance_usage_audit_log"]
    assert january["period_beginning"] == "2025-12-01 00:00:00"
    assert await admin.refused(400, "GET", "/os-instance_usage_audit_log/soon") == "Invalid timestamp for date soon"
    await api().refused(403, "GET", "/os-instance_usage_audit_log")


async def test_what_is_gone_says_so_in_every_version(api: Api, place: Callable[..., Awaitable[Instance]]) -> None:
    server = await place()
    for version in ("2.1", "2.100"):
        reader = api("reader", version)
        for method, path in (("GET", "/os-cells"), ("PUT", "/os-agents/1"), ("GET", "/os-floating-ip-dns/a/entries/b")):
            await reader.refused(410, method, path)
        await reader.refused(410, "POST", "/os-fixed-ips/192.0.2.1/action", {"reserve": None})
        await reader.refused(410, "POST", f"/servers/{server.uuid}/action", {"resetNetwork": None})
        await reader.refused(410, "GET", f"/servers/{server.uuid}/consoles")
        await reader.refused(400, "POST", "/os-networks/1/action", {"fly": None})
    await api("reader", "2.5").refused(410, "POST", f"/servers/{server.uuid}/action", {"os-getRDPConsole": {}})
    await api("reader", "2.6").refused(404, "POST", f"/servers/{server.uuid}/action", {"os-getRDPConsole": {}})


async def test_servers_have_another_path(api: Api, asked: dict[str, str]) -> None:
    member = api(version="2.37")
    made = (await member.ok("POST", "/os-volumes_boot", {"server": asked}, 202))["server"]
    assert made["links"][0]["href"].endswith(f"/servers/{made['id']}")
    assert [s["id"] for s in (await member.get("/os-volumes_boot"))["servers"]] == [made["id"]]
    assert [s["id"] for s in (await member.get("/os-volumes_boot/detail?name=web"))["servers"]] == [made["id"]]
    assert (await member.get(f"/os-volumes_boot/{made['id']}"))["server"]["status"] == "BUILD"
    await member.ok("POST", f"/os-volumes_boot/{made['id']}/action", {"lock": None}, 202)
    await member.refused(404, "GET", f"/os-volumes_boot/{made['id']}/metadata")
    await api("nobody").refused(403, "GET", "/os-volumes_boot")
    await api("stranger").refused(404, "GET", f"/os-volumes_boot/{made['id']}")
    await member.ok("POST", f"/servers/{made['id']}/action", {"unlock": None}, 202)
    await member.ok("DELETE", f"/os-volumes_boot/{made['id']}", code=204)
