"""Servers that are in a cell, over HTTP: what the API changes there by itself, and what it refuses."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve
from compute_client import Client

from control.servers.find import instance_key
from control.top import Top
from kv.keys import Cell
from kv.txn import Txn
from schemas.codec import to_dict
from schemas.operation import Deleted
from schemas.server import Instance
from schemas.shards import shard_of

Api = Callable[..., Client]
Place = Callable[..., Awaitable[Instance]]

ACTIONS = {"start": "os-start", "stop": "os-stop", "pause": "pause", "unpause": "unpause", "suspend": "suspend"}
ACTIONS |= {"resume": "resume"}


@pytest.mark.parametrize(("word", "action"), ACTIONS.items())
async def test_an_action_begins_in_its_state_and_is_refused_in_others(
    api: Api, place: Place, word: str, action: str
) -> None:
    fits = {"start": "stopped", "unpause": "paused", "resume": "suspended"}.get(word, "active")
    member = api()
    ready, wrong, busy = (
        await place(vm_state=fits),
        await place(vm_state="rescued"),
        await place(vm_state=fits, task_state="rebooting"),
    )
    await member.ok("POST", f"/servers/{ready.uuid}/action", {action: None}, 202)
    assert (await member.get(f"/servers/{ready.uuid}"))["server"]["OS-EXT-STS:task_state"]
    assert await member.refused(409, "POST", f"/servers/{wrong.uuid}/action", {action: None}) == (
        f"Cannot '{word}' instance {wrong.uuid} while it is in vm_state rescued"
    )
    assert await member.refused(409, "POST", f"/servers/{busy.uuid}/action", {action: None}) == (
        f"Cannot '{word}' instance {busy.uuid} while it is in task_state rebooting"
    )
    await api("reader").refused(403, "POST", f"/servers/{ready.uuid}/action", {action: None})
    await api("stranger").refused(404, "POST", f"/servers/{ready.uuid}/action", {action: None})


async def test_a_locked_server_refuses_all_but_admins(api: Api, place: Place) -> None:
    server, member = await place(), api(version="2.73")
    path = f"/servers/{server.uuid}"
    await member.ok("POST", f"{path}/action", {"lock": {"locked_reason": "mine"}}, 202)
    for action in ("os-stop", "pause", "suspend", "forceDelete"):
        message = await member.refused(409, "POST", f"{path}/action", {action: None})
        assert message == f"Instance {server.uuid} is locked"
    await member.refused(409, "DELETE", path)
    await member.refused(409, "POST", f"{path}/metadata", {"metadata": {"a": "b"}})
    await api("admin").ok("POST", f"{path}/action", {"os-stop": None}, 202)
    await member.ok("POST", f"{path}/action", {"unlock": None}, 202)
    history = (await member.get(f"{path}/os-instance-actions"))["instanceActions"]
    assert [a["action"] for a in history] == ["unlock", "stop", "lock"]
    events = (await member.get(f"{path}/os-instance-actions/{history[0]['request_id']}"))["instanceAction"]["events"]
    assert events == []


async def test_reset_state_forgets_what_was_going_on(api: Api, top: Top, place: Place) -> None:
    server, admin = await place(), api("admin")
    path = f"/servers/{server.uuid}"
    await api().ok("POST", f"{path}/action", {"os-stop": None}, 202)
    await api().refused(403, "POST", f"{path}/action", {"os-resetState": {"state": "error"}})
    await admin.refused(400, "POST", f"{path}/action", {"os-resetState": {"state": "gone"}})
    await admin.ok("POST", f"{path}/action", {"os-resetState": {"state": "error"}}, 202)
    shown = (await admin.get(path))["server"]
    assert (shown["status"], shown["OS-EXT-STS:task_state"]) == ("ERROR", None)
    cell = top.cells.store("cell1")
    assert await cell.get(Cell.OPERATIONS(shard_of(server.uuid), server.uuid)) is None
    history = (await admin.get(f"{path}/os-instance-actions"))["instanceActions"]
    assert [(a["action"], a["message"]) for a in history] == [("resetState", None), ("stop", "Error")]
    await admin.ok("POST", f"{path}/action", {"os-resetState": {"state": "active"}}, 202)
    assert (await admin.get(path))["server"]["status"] == "ACTIVE"


async def test_force_delete_is_a_delete(api: Api, place: Place) -> None:
    server = await place()
    await api().ok("POST", f"/servers/{server.uuid}/action", {"forceDelete": None}, 202)
    assert (await api().get(f"/servers/{server.uuid}"))["server"]["OS-EXT-STS:task_state"] == "deleting"


async def test_a_host_name_is_set_since_2_90_and_may_have_dots_since_2_94(api: Api, place: Place) -> None:
    server, field = await place(), "OS-EXT-SRV-ATTR:hostname"
    path = f"/servers/{server.uuid}"
    changed = await api(version="2.90").ok("PUT", path, {"server": {"hostname": "db-1"}})
    assert changed["server"][field] == "db-1"
    await api(version="2.89").refused(400, "PUT", path, {"server": {"hostname": "db-1"}})
    await api(version="2.90").refused(400, "PUT", path, {"server": {"hostname": "db.example"}})
    await api(version="2.94").ok("PUT", path, {"server": {"hostname": "db.example"}})
    assert [s["id"] for s in (await api(version="2.90").get("/servers?hostname=db.example"))["servers"]] == [
        server.uuid
    ]
    assert len((await api(version="2.89").get("/servers?hostname=none"))["servers"]) == 1


async def test_small_reads(api: Api, place: Place) -> None:
    server = await place(host=None)
    path = f"/servers/{server.uuid}"
    assert await api(version="2.78").get(f"{path}/topology") == {"nodes": [], "pagesize_kb": None}
    assert await api().get(f"{path}/os-server-password") == {"password": ""}
    await api().ok("DELETE", f"{path}/os-server-password", code=204)
    await api("stranger").refused(404, "GET", f"{path}/os-server-password")
    await api().refused(403, "GET", f"{path}/diagnostics")
    await api("admin").refused(409, "GET", f"{path}/diagnostics")


async def test_usage_of_projects(api: Api, place: Place) -> None:
    launched = datetime.now(UTC) - timedelta(hours=10)
    first = await place(launched=launched)
    await place(launched=launched, project="project-other")
    await place(launched=None, vm_state="building")
    start, end = (launched + timedelta(hours=h) for h in (2, 4))
    period = f"start={start:%Y-%m-%dT%H:%M:%S}&end={end:%Y-%m-%dT%H:%M:%S}"
    usage = (await api().get(f"/os-simple-tenant-usage/project-demo?{period}"))["tenant_usage"]
    assert usage["total_hours"] == pytest.approx(2.0)
    assert usage["total_memory_mb_usage"] == pytest.approx(1024.0)
    (line,) = usage["server_usages"]
    assert {k: line[k] for k in ("instance_id", "name", "flavor", "vcpus", "local_gb", "state", "ended_at")} == {
        "instance_id": first.uuid,
        "name": "web",
        "flavor": "tiny",
        "vcpus": 1,
        "local_gb": 1,
        "state": "active",
        "ended_at": None,
    }
    every = (await api("admin").get(f"/os-simple-tenant-usage?{period}"))["tenant_usages"]
    assert [u["tenant_id"] for u in every] == ["project-demo", "project-other"]
    assert all("server_usages" not in u for u in every)
    paged = await api("admin", "2.40").get(f"/os-simple-tenant-usage?{period}&detailed=1&limit=1")
    assert len(paged["tenant_usages"]) == 1
    following: dict[str, Any] = paged["tenant_usages_links"][0]
    assert f"marker={first.uuid}" in following["href"]
    before = "start=2020-01-01T00:00:00&end=2020-01-02T00:00:00"
    assert await api().get(f"/os-simple-tenant-usage/project-demo?{before}") == {"tenant_usage": {}}
    await api().refused(400, "GET", "/os-simple-tenant-usage/project-demo?start=yesterday")
    await api().refused(
        400, "GET", f"/os-simple-tenant-usage/project-demo?start={end:%Y-%m-%dT%H:%M:%S}&end=2020-01-01T00:00:00"
    )
    await api().refused(403, "GET", "/os-simple-tenant-usage")
    await api().refused(403, "GET", "/os-simple-tenant-usage/project-other")


async def test_changes_since_lists_what_changed_and_what_is_gone(api: Api, top: Top, place: Place) -> None:
    """A poll reads only what was written after a revision that the watches had passed long before."""
    now = datetime.now(UTC)
    old = await place(updated=now - timedelta(hours=1), created=now - timedelta(hours=2))
    new = await place(updated=now)
    gone = await place(updated=now - timedelta(hours=1), created=now - timedelta(hours=3))
    dead = evolve(gone, vm_state="deleted", terminated=now, updated=now)
    cell = top.cells.store("cell1")
    kept = Deleted(to_dict(dead), now)
    day = now.date().isoformat()
    txn = Txn("gone").delete(instance_key(gone)).put(Cell.DELETED(day, gone.uuid), kept)
    await cell.commit(txn.put(Cell.DELETED_OF(day, gone.project, gone.uuid), ""))
    since = f"{now - timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"

    async def polled() -> list[tuple[str, str]]:
        found = (await api().get(f"/servers/detail?changes-since={since}"))["servers"]
        return [(s["id"], s["status"]) for s in found]

    assert await polled() == [(new.uuid, "ACTIVE"), (gone.uuid, "DELETED")]
    revision = await cell.revision()
    top.liveness._moments["cell1"].note(now - timedelta(minutes=5), revision)
    assert await polled() == [], "as if all of it had been there before"
    await api().ok("POST", f"/servers/{old.uuid}/metadata", {"metadata": {"a": "b"}})
    assert await polled() == [(old.uuid, "ACTIVE")]


async def test_a_server_that_left_its_home_is_looked_for_again(api: Api, top: Top, place: Place) -> None:
    server = await place()
    await api().get(f"/servers/{server.uuid}")
    await top.cells.store("cell1").commit(Txn("gone").delete(instance_key(server)))
    await api().refused(404, "GET", f"/servers/{server.uuid}")
    await api("stranger").refused(404, "GET", f"/servers/{server.uuid}")


async def test_a_page_reads_any_mix_of_projects(api: Api, place: Place) -> None:
    made = [await place(project=f"project-{'demo' if n % 3 else 'other'}") for n in range(7)]
    newest = [s.uuid for s in reversed(made)]
    admin = api("admin")
    assert [s["id"] for s in (await admin.get("/servers/detail?all_tenants=1"))["servers"]] == newest
    page = (await admin.get(f"/servers?all_tenants=1&limit=2&marker={newest[2]}"))["servers"]
    assert [s["id"] for s in page] == newest[3:5]
    wanted = [s.uuid for s in reversed(made) if s.project == "project-demo"]
    assert [s["id"] for s in (await api().get("/servers?limit=1"))["servers"]] == wanted[:1]
    named = await place(name="needle", created=datetime.now(UTC) - timedelta(days=1))
    assert [s["id"] for s in (await api().get("/servers?limit=1&name=needle"))["servers"]] == [named.uuid]
