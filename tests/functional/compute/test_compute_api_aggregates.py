"""Host aggregates and availability zones over HTTP."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from compute_client import Client

from control.top import Top
from kv.keys import Cell, Global
from kv.txn import Txn
from schemas.host import HostMapping
from schemas.placement import Inventory, Provider, Usages
from schemas.server import HostedServer

Api = Callable[..., Client]


@pytest.fixture
async def hosts(top: Top) -> dict[str, str]:
    """Hosts h1 and h2 with the uuids of their providers."""
    found = {}
    for name in ("h1", "h2"):
        uuid = found[name] = str(uuid4())
        provider = Provider(uuid, name, {"VCPU": Inventory(8)}, host=name, cell="cell1")
        txn = Txn("map").create(Global.HOSTS(name), HostMapping(name, "cell1", uuid))
        await top.store.commit(
            txn.create(Global.PROVIDERS(uuid), provider).create(Global.USAGES(uuid), Usages(generation=1))
        )
    return found


async def make(admin: Client, name: str, zone: str | None = None) -> Any:
    body = {"name": name, **({"availability_zone": zone} if zone else {})}
    return (await admin.ok("POST", "/os-aggregates", {"aggregate": body}))["aggregate"]


async def act(admin: Client, ident: int, action: str, code: int = 200, **inner: Any) -> Any:
    body = {action: inner}
    if code != 200:
        return await admin.refused(code, "POST", f"/os-aggregates/{ident}/action", body)
    return (await admin.ok("POST", f"/os-aggregates/{ident}/action", body))["aggregate"]


async def test_an_aggregate_through_its_life(api: Api, top: Top, hosts: dict[str, str]) -> None:
    admin = api("admin", "2.41")
    made = await make(admin, "ssd", "az1")
    keys = {"id", "uuid", "name", "availability_zone", "created_at", "updated_at", "deleted", "deleted_at"}
    assert set(made) == keys
    assert (made["id"], made["name"], made["availability_zone"], made["deleted"]) == (1, "ssd", "az1", False)
    assert "uuid" not in (await api("admin").get("/os-aggregates/1"))["aggregate"]
    shown = await act(admin, 1, "add_host", host="h1")
    assert (shown["hosts"], shown["metadata"]) == (["h1"], {"availability_zone": "az1"})
    provider, usages = await top.store.read(Global.PROVIDERS(hosts["h1"]), Global.USAGES(hosts["h1"]))
    assert provider
    assert usages
    assert provider.value.aggregates == {made["uuid"]}
    assert usages.value.generation == 2
    shown = await act(admin, 1, "set_metadata", metadata={"ssd": "true", "old": None})
    assert shown["metadata"] == {"availability_zone": "az1", "ssd": "true"}
    shown = (await admin.ok("PUT", "/os-aggregates/1", {"aggregate": {"name": "fast"}}))["aggregate"]
    assert (shown["name"], shown["availability_zone"]) == ("fast", "az1")
    assert shown["updated_at"] is not None
    assert (await admin.get("/os-aggregates"))["aggregates"] == [shown]
    message = await admin.refused(400, "DELETE", "/os-aggregates/1")
    assert message == "Cannot delete aggregate 1. Reason: Host aggregate is not empty."
    await act(admin, 1, "remove_host", host="h1")
    (provider,) = await top.store.read(Global.PROVIDERS(hosts["h1"]))
    assert provider
    assert provider.value.aggregates == frozenset()
    await admin.ok("DELETE", "/os-aggregates/1")
    assert await admin.refused(404, "GET", "/os-aggregates/1") == "Aggregate 1 could not be found."
    assert (await make(admin, "next"))["id"] == 2, "ids are never given twice"


async def test_what_is_refused(api: Api, hosts: dict[str, str]) -> None:
    admin = api("admin", "2.41")
    await make(admin, "one", "az1")
    await make(admin, "two", "az2")
    await make(admin, "plain")
    taken = {"aggregate": {"name": "one"}}
    assert await admin.refused(409, "POST", "/os-aggregates", taken) == "Aggregate one already exists."
    await admin.refused(409, "PUT", "/os-aggregates/2", taken)
    await act(admin, 1, "add_host", 404, host="nowhere")
    await act(admin, 9, "add_host", 404, host="h1")
    await act(admin, 1, "add_host", host="h1")
    assert await act(admin, 1, "add_host", 409, host="h1") == "Aggregate 1 already has host h1."
    assert await act(admin, 1, "remove_host", 404, host="h2") == "Aggregate 1 has no host h2."
    assert "One or more hosts already in availability zone(s) ['az1']" in await act(
        admin, 2, "add_host", 409, host="h1"
    )
    await act(admin, 3, "add_host", host="h1")
    assert "already in availability zone(s) ['az1']" in await act(
        admin, 3, "set_metadata", 400, metadata={"availability_zone": "az3"}
    )
    await act(admin, 3, "set_metadata", metadata={"availability_zone": "az1"})
    for body in ({}, {"name": ""}, {"name": "x", "availability_zone": "a:b"}, {"name": "x", "more": 1}):
        await admin.refused(400, "POST", "/os-aggregates", {"aggregate": body})
    for body in ({}, {"availability_zone": ""}, {"availability_zone": None}):
        await admin.refused(400, "PUT", "/os-aggregates/1", {"aggregate": body})
    await act(admin, 1, "set_metadata", 400, metadata={"k": 1})
    await admin.refused(400, "GET", "/os-aggregates/one")
    await api("member").refused(403, "GET", "/os-aggregates")


async def test_two_zones_cannot_race_for_a_host(api: Api, hosts: dict[str, str]) -> None:
    admin = api("admin", "2.41")
    for n in range(4):
        await make(admin, f"a{n}", f"az{n}")
    body = {"add_host": {"host": "h1"}}
    answers = await asyncio.gather(*(admin.send("POST", f"/os-aggregates/{n}/action", body) for n in range(1, 5)))
    assert sorted(a.status_code for a in answers) == [200, 409, 409, 409]


async def test_a_zone_does_not_change_under_servers(api: Api, top: Top, hosts: dict[str, str]) -> None:
    admin = api("admin", "2.41")
    await make(admin, "one", "az1")
    await make(admin, "plain")
    await act(admin, 1, "add_host", host="h1")
    await top.cells.store("cell1").commit(Txn("s").put(Cell.BY_HOST("h1", "u1"), HostedServer("p", 1)))
    changed = {"availability_zone": "az2"}
    assert "contain instances" in await act(admin, 1, "set_metadata", 400, metadata=changed)
    await admin.refused(400, "PUT", "/os-aggregates/1", {"aggregate": changed})
    message = await act(admin, 1, "remove_host", 409, host="h1")
    assert "would change from 'az1' to 'nova' but the host already has 1 instance(s)" in message
    await act(admin, 2, "add_host", host="h1")
    await act(admin, 2, "remove_host", host="h1")
    await top.cells.store("cell1").commit(Txn("s").put(Cell.BY_HOST("h2", "u2"), HostedServer("p", 1)))
    message = await act(admin, 1, "add_host", 409, host="h2")
    assert "would change from 'nova' to 'az1' but the host already has 1 instance(s)" in message


async def test_zones_are_those_of_aggregates(api: Api, hosts: dict[str, str], asked: dict[str, Any]) -> None:
    admin = api("admin", "2.53")
    await make(admin, "one", "az1")
    await act(admin, 1, "add_host", host="h1")
    plain = (await api().get("/os-availability-zone"))["availabilityZoneInfo"]
    available = {"zoneState": {"available": True}, "hosts": None}
    assert plain == [{"zoneName": "az1", **available}, {"zoneName": "nova", **available}]
    detail = (await admin.get("/os-availability-zone/detail"))["availabilityZoneInfo"]
    assert [(z["zoneName"], list(z["hosts"])) for z in detail] == [("az1", ["h1"]), ("nova", ["h2"])]
    services = (await admin.get("/os-services"))["services"]
    assert {s["host"]: s["zone"] for s in services if s["binary"] == "nova-compute"} == {"h1": "az1", "h2": "nova"}
    (uuid,) = [s["id"] for s in services if s["host"] == "h1"]
    await admin.ok("PUT", f"/os-services/{uuid}", {"status": "disabled"})
    zones = (await api().get("/os-availability-zone"))["availabilityZoneInfo"]
    assert {z["zoneName"]: z["zoneState"]["available"] for z in zones} == {"nova": True, "az1": False}
    member = api("member", "2.37")
    await member.ok("POST", "/servers", {"server": {**asked, "availability_zone": "az1"}}, code=202)
    for zone in ("az1:h1", "az1:h1:h1", "az1::h1"):
        body = {"server": {**asked, "availability_zone": zone}}
        await member.refused(403, "POST", "/servers", body)
    for zone in ("az2", "az1::nowhere", "az1:h2:h1", "a:b:c:d", "az1::"):
        await api("admin", "2.37").refused(400, "POST", "/servers", {"server": {**asked, "availability_zone": zone}})


async def test_images_are_wanted_on_every_host_of_an_aggregate(
    api: Api, top: Top, hosts: dict[str, str], image: str
) -> None:
    admin = api("admin", "2.81")
    ident = (await make(admin, "fast"))["id"]
    path, wanted = f"/os-aggregates/{ident}/images", {"cache": [{"id": image}]}
    await admin.ok("POST", path, wanted, 202)
    assert await top.store.count(Global.OPERATIONS.under()) == 0, "it has no hosts"
    for host in hosts:
        await act(admin, ident, "add_host", host=host)
    assert (await admin.send("POST", path, wanted)).content == b""
    operations = [stored.value for stored in await top.store.range(Global.OPERATIONS.under())]
    assert {o.host: o.inputs for o in operations} == {h: {"cell": "cell1", "images": [image]} for h in hosts}
    assert await admin.refused(400, "POST", path, {"cache": [{"id": image}] * 2}) == "Duplicate images in request"
    missing = str(uuid4())
    assert await admin.refused(404, "POST", path, {"cache": [{"id": missing}]}) == (
        f"Image {missing} could not be found."
    )
    for body in ({}, {"cache": []}, {"cache": [{"id": "x"}]}, {"cache": [{"id": image, "more": 1}]}):
        await admin.refused(400, "POST", path, body)
    await admin.refused(404, "POST", "/os-aggregates/999/images", wanted)
    await api("admin", "2.80").refused(404, "POST", path, wanted)
    await api("member", "2.81").refused(403, "POST", path, wanted)
