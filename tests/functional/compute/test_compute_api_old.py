"""What only old versions have, and what no version has any more, over HTTP."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest
from attrs import evolve
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


async def test_images_are_shown_to_those_who_may_see_them(api: Api, top: Top, image: str) -> None:
    reader, stranger, owner = api("reader", "2.35"), api("stranger"), api("admin")
    shown = (await reader.get(f"/images/{image}"))["image"]
    assert (shown["name"], shown["status"], shown["progress"], shown["metadata"]) == ("guest", "ACTIVE", 100, {})
    assert shown["OS-EXT-IMG-SIZE:size"] == 1 << 20
    assert [link["rel"] for link in shown["links"]] == ["self", "bookmark", "alternate"]
    assert shown["links"][2]["href"].endswith(f"/image/images/{image}")
    stored = await top.store.get(Global.IMAGES(image))
    assert stored is not None
    hidden = evolve(stored.value, id="0" * 8 + stored.value.id[8:], visibility="private", name="own")
    await top.store.commit(Txn("image").create(Global.IMAGES(hidden.id), hidden))
    assert [i["name"] for i in (await stranger.get("/images"))["images"]] == ["guest"]
    assert {i["name"] for i in (await owner.get("/images/detail"))["images"]} == {"guest", "own"}
    assert [i["name"] for i in (await owner.get("/images?name=own&status=active"))["images"]] == ["own"]
    assert (await owner.get("/images?minRam=5"))["images"] == []
    assert (await owner.get("/images?changes-since=2999-01-01T00:00:00Z"))["images"] == []
    assert await stranger.refused(404, "GET", f"/images/{hidden.id}") == "Image not found."
    assert await stranger.refused(404, "DELETE", f"/images/{hidden.id}") == "Image not found."
    assert await stranger.refused(403, "DELETE", f"/images/{image}") == "You are not allowed to delete the image."
    await owner.ok("DELETE", f"/images/{hidden.id}", code=204)
    await owner.refused(404, "GET", f"/images/{hidden.id}")
    await api("reader", "2.36").refused(404, "GET", f"/images/{image}")


async def test_an_image_s_metadata_is_written_by_its_owner(api: Api, image: str) -> None:
    owner, path = api("admin", "2.38"), f"/images/{image}/metadata"
    assert await owner.ok("POST", path, {"metadata": {"a": "1"}}) == {"metadata": {"a": "1"}}
    assert await owner.ok("POST", path, {"metadata": {"b": "2"}}) == {"metadata": {"a": "1", "b": "2"}}
    assert await owner.ok("PUT", f"{path}/a", {"meta": {"a": "3"}}) == {"meta": {"a": "3"}}
    assert await api("reader").get(f"{path}/a") == {"meta": {"a": "3"}}
    assert await owner.ok("PUT", path, {"metadata": {"c": "4"}}) == {"metadata": {"c": "4"}}
    assert await owner.refused(404, "DELETE", f"{path}/a") == "Invalid metadata key"
    await owner.refused(404, "GET", f"{path}/a")
    await owner.refused(400, "PUT", f"{path}/a", {"meta": {"b": "1"}})
    await owner.refused(400, "POST", path, {"metadata": {"visibility": "private"}})
    await owner.ok("DELETE", f"{path}/c", code=204)
    assert await owner.get(path) == {"metadata": {}}
    await api("stranger").refused(403, "POST", path, {"metadata": {"a": "1"}})
    await owner.ok("PUT", "/os-quota-sets/project-admin", {"quota_set": {"metadata_items": 1}})
    assert await owner.refused(403, "POST", path, {"metadata": {"a": "1", "b": "2"}}) == (
        "Image metadata limit exceeded"
    )
    await api("admin", "2.39").refused(404, "GET", path)
