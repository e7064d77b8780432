"""Lists as users' bug reports know them: walks, markers, filters, times, numbers."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from attrs import evolve
from compute_client import Client

from control.servers.find import instance_key
from control.top import Top
from kv.keys import Cell, Global
from kv.txn import Txn
from schemas.codec import to_dict
from schemas.operation import Action, Deleted
from schemas.server import Instance, time_key

Api = Callable[..., Client]
Place = Callable[..., Awaitable[Instance]]

NOW = datetime.now(UTC)


async def forget(top: Top, server: Instance, **changes: Any) -> Instance:
    """Deletes a placed server as a finished deletion leaves it."""
    now = datetime.now(UTC)
    dead = evolve(server, **{"vm_state": "deleted", "terminated": now, "updated": now, **changes})
    txn = Txn("gone").delete(instance_key(server))
    day = now.date().isoformat()
    txn.put(Cell.DELETED(day, server.uuid), Deleted(to_dict(dead), now))
    txn.put(Cell.DELETED_OF(day, server.project, server.uuid), "")
    await top.cells.store("cell1").commit(txn)
    when = time_key(server.created_us, server.uuid)
    txn = Txn("gone").delete(Global.INSTANCES(server.uuid)).delete(Global.ALL_SERVERS(when))
    await top.store.commit(txn.delete(Global.PROJECT_SERVERS(server.project, when)))
    return dead


async def walk(client: Client, first: str, collection: str, links: str = "") -> list[list[Any]]:
    """The pages from the first to the last, by their next links."""
    pages: list[list[Any]] = []
    path = first
    while path:
        page = await client.get(path)
        pages.append(page[collection])
        following = page.get(links or f"{collection}_links")
        path = following[0]["href"].split("/v2.1", 1)[1] if following else ""
        assert len(pages) < 50, "a walk has an end"
    return pages


def ids(servers: list[Any]) -> list[str]:
    return [s["id"] for s in servers]


async def test_a_walk_with_two_sort_keys_shows_each_server_once(api: Api, place: Place) -> None:
    """The next link put its parameters in order, and with them the directions of the sort keys: the second page
    repeated servers and left others out."""
    made = [await place(name=name, created=NOW - timedelta(hours=n)) for n, name in enumerate("abcabcabc")]
    query = "limit=2&sort_key=display_name&sort_dir=desc&sort_key=created_at&sort_dir=asc"
    pages = await walk(api(), f"/servers?{query}", "servers")
    expected = sorted(sorted(made, key=lambda s: s.created), key=lambda s: s.name, reverse=True)
    assert [i for page in pages for i in ids(page)] == [s.uuid for s in expected]


async def test_servers_that_are_alike_are_shown_once_each(api: Api, place: Place) -> None:
    made = [await place(name="same", created=NOW - timedelta(hours=n)) for n in range(5)]
    for direction in ("asc", "desc"):
        pages = await walk(api(), f"/servers?limit=2&sort_key=display_name&sort_dir={direction}", "servers")
        assert [i for page in pages for i in ids(page)] == sorted(s.uuid for s in made)


async def test_the_first_direction_holds_for_the_keys_without_one(api: Api, place: Place) -> None:
    made = [await place(name=name, key=None, power_state=1) for name in "ba"]
    found = await api().get("/servers?sort_key=power_state&sort_key=display_name&sort_dir=asc")
    assert ids(found["servers"]) == [made[1].uuid, made[0].uuid]


async def test_a_marker_that_the_filters_leave_out(api: Api, place: Place) -> None:
    """It used to be unknown. Nova looks for it apart from the filters."""
    running = await place(name="b")
    stopped = [await place(name=name, vm_state="stopped") for name in "ac"]
    found = await api().get(f"/servers?sort_key=display_name&sort_dir=asc&status=SHUTOFF&marker={running.uuid}")
    assert ids(found["servers"]) == [stopped[1].uuid]
    found = await api().get(f"/servers?status=SHUTOFF&marker={running.uuid}")
    assert found["servers"] == []


@pytest.mark.parametrize("order", ["", "sort_key=created_at&sort_dir=desc&sort_key=uuid&", "status=ACTIVE&"])
async def test_a_marker_that_is_deleted(api: Api, top: Top, place: Place, order: str) -> None:
    """A walk goes on when the last server of its page is deleted meanwhile. It was a 400."""
    made = [await place(created=NOW - timedelta(hours=n)) for n in range(3)]
    await forget(top, made[1])
    assert ids((await api().get(f"/servers?{order}marker={made[1].uuid}"))["servers"]) == [made[2].uuid]
    everything = await api("operator").get(f"/servers?{order}all_tenants=1&marker={made[1].uuid}")
    assert ids(everything["servers"]) == [made[2].uuid]


@pytest.mark.parametrize("order", ["", "sort_key=display_name&"])
async def test_a_marker_of_another_project_does_not_tell_that_it_exists(
    api: Api, top: Top, place: Place, order: str
) -> None:
    theirs, gone = await place(project="project-other"), await place(project="project-other")
    await forget(top, gone)
    for marker in (theirs.uuid, gone.uuid, "x", "00000000-0000-4000-8000-000000000000"):
        message = await api().refused(400, "GET", f"/servers?{order}marker={marker}")
        assert message == f"marker [{marker}] not found"


async def test_deleted_servers_have_no_host_status(api: Api, top: Top, place: Place) -> None:
    """It was UP: a host's state is nothing that a deleted server has."""
    await forget(top, await place(host="h1"))
    for version in ("2.16", "2.69"):
        found = await api("admin", version).get("/servers/detail?deleted=True&all_tenants=1")
        assert [(s["status"], s["host_status"]) for s in found["servers"]] == [("DELETED", "")]


async def test_changes_compare_what_is_shown(api: Api, place: Place) -> None:
    """A record has fractions of a second and what is shown has none: a server was left out of what had changed before
    the very time that it shows."""
    updated = datetime(2026, 3, 1, 12, 0, 0, 700_000, tzinfo=UTC)
    server = await place(created=updated - timedelta(days=1), updated=updated)
    member = api(version="2.66")
    shown = (await member.get(f"/servers/{server.uuid}"))["server"]["updated"]
    assert shown == "2026-03-01T12:00:00Z"

    async def listed(query: str) -> bool:
        return ids((await member.get(f"/servers?{query}"))["servers"]) == [server.uuid]

    assert await listed(f"changes-before={shown}")
    assert await listed(f"changes-since={shown}")
    assert await listed(f"changes-since={shown}&changes-before={shown}")
    assert await listed("changes-before=2026-03-01T12:00:00.5Z")
    assert not await listed("changes-before=2026-03-01T11:59:59Z")
    assert not await listed("changes-since=2026-03-01T12:00:00.5Z"), "what is shown is before it"
    assert not await listed("changes-since=2026-03-01T12:00:01Z")


async def test_an_expression_that_took_seconds_and_those_that_a_guard_refused(api: Api, place: Place) -> None:
    """`^(a|a)*$` took seconds for this name, doubling with each letter: any member could freeze the API. What stood
    against such expressions refused ordinary ones."""
    server = await place(name="a" * 24 + "!", description="rack 12, row b")
    admin = api("operator", "2.90")

    async def found(key: str, pattern: str) -> bool:
        return bool((await admin.get(f"/servers?{key}={quote(pattern)}"))["servers"])

    assert not await found("name", "^(a|a)*$")
    assert await found("name", "a*b*c*d*")
    assert await found("name", "A{24}")
    assert not await found("name", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
    assert await found("display_description", "ROW [ab]")
    assert await found("hostname", server.hostname[1:3]), "every text but a few is searched, as in Nova"
    assert not await found("host", "h"), "a host is one of the few"
    assert await found("host", "h1")
    for text in ("(", "\\1", "(?=a)"):
        refused = await admin.refused(400, "GET", f"/servers?name={quote(text)}")
        assert refused.startswith(f"Invalid regular expression {text}: ")
    assert "too complex" in await admin.refused(400, "GET", f"/servers?name={quote('(a?){1000}')}")


HUGE = "9" * 5_000
NUMBERS = [
    ("admin", "2.100", "/servers?limit={}", 200),
    ("admin", "2.100", "/servers/detail?limit={}", 200),
    ("admin", "2.100", "/flavors?limit={}", 200),
    ("admin", "2.100", "/flavors?minRam={}&minDisk={}", 200),
    ("admin", "2.100", "/os-keypairs?limit={}", 200),
    ("admin", "2.100", "/os-hypervisors?limit={}", 200),
    ("admin", "2.100", "/os-server-groups?limit={}&offset={}", 200),
    ("admin", "2.100", "/os-simple-tenant-usage?limit={}", 200),
    ("admin", "2.35", "/images?limit={}", 200),
    ("admin", "2.35", "/images?minRam={}", 200),
    ("admin", "2.100", "/os-aggregates/{}", 404),
    ("admin", "2.52", "/os-services/{}", 404),
    ("admin", "2.52", "/os-hypervisors/{}", 404),
    ("admin", "2.1", "/servers?power_state={}&launch_index={}", 200),
    ("admin", "2.1", "/os-quota-sets/project-demo?user_id={}", 200),
]


@pytest.mark.parametrize(("who", "version", "path", "code"), NUMBERS, ids=[n[2] for n in NUMBERS])
async def test_numbers_of_five_thousand_digits(api: Api, who: str, version: str, path: str, code: int) -> None:
    """Python refuses to read more than 4,300 digits, and that was a 500."""
    answer = await api(who, version).send("GET", path.replace("{}", HUGE))
    assert answer.status_code == code, answer.text


async def test_versions_of_five_thousand_digits(http: httpx.AsyncClient) -> None:
    for headers in (
        {"OpenStack-API-Version": f"compute 2.{HUGE}"},
        {"OpenStack-API-Version": f"compute {HUGE}.1"},
        {"X-OpenStack-Nova-API-Version": f"2.{HUGE}"},
    ):
        answer = await http.get("/v2.1/servers", headers={"X-Auth-Token": "member", **headers})
        assert answer.status_code == 406


async def test_counts_of_five_thousand_digits_in_bodies(api: Api, asked: dict[str, Any]) -> None:
    """As many servers as were asked for were made in memory before the quota was looked at."""
    member = api(version="2.37")
    for count in (10_001, HUGE):
        message = await member.refused(403, "POST", "/servers", {"server": {**asked, "min_count": count}})
        assert message.startswith("Quota exceeded for instances")
    made = await member.ok("POST", "/servers", {"server": {**asked, "max_count": HUGE, "name": "many"}}, 202)
    assert made["server"]["id"]
    assert len((await member.get("/servers"))["servers"]) == 10, "as many as the quota has"
    await api("admin").ok(
        "PUT", "/os-quota-sets/project-demo", {"quota_set": {"instances": -1, "cores": -1, "ram": -1}}
    )
    message = await member.refused(400, "POST", "/servers", {"server": {**asked, "min_count": 10_001}})
    assert message == "min_count is 10001: a request creates at most 10000 servers, send several"
    rules = {"name": "g", "policy": "anti-affinity", "rules": {"max_server_per_host": HUGE}}
    await api(version="2.64").ok("POST", "/os-server-groups", {"server_group": rules})


async def test_a_group_of_another_project_is_unknown(api: Api) -> None:
    """It was a 403 where an unknown one is a 404, which told that it exists."""
    made = await api().ok("POST", "/os-server-groups", {"server_group": {"name": "g", "policies": ["affinity"]}})
    ident, stranger = made["server_group"]["id"], api("stranger")
    for method in ("GET", "DELETE"):
        message = await stranger.refused(404, method, f"/os-server-groups/{ident}")
        assert message == f"Instance group {ident} could not be found."
    assert (await api("admin").get(f"/os-server-groups/{ident}"))["server_group"]["id"] == ident
    await api().ok("DELETE", f"/os-server-groups/{ident}", code=204)


async def test_a_usages_marker_may_have_lived_in_another_period(api: Api, top: Top, place: Place) -> None:
    long_ago = NOW - timedelta(days=20)
    old = await forget(top, await place(launched=long_ago), terminated=long_ago)
    new = await place(launched=NOW - timedelta(hours=1))
    period = f"start={NOW - timedelta(hours=2):%Y-%m-%dT%H:%M:%S}"
    path = f"/os-simple-tenant-usage/project-demo?{period}&marker={old.uuid}"
    usage = (await api(version="2.40").get(path))["tenant_usage"]
    assert [s["instance_id"] for s in usage.get("server_usages", [])] == ([new.uuid] if new.uuid > old.uuid else [])


async def test_a_projects_usage_reads_no_other_projects_deletions(api: Api, top: Top, place: Place) -> None:
    """Any reader's request read the deleted servers of the whole site."""
    hour = NOW - timedelta(hours=1)
    mine = await forget(top, await place(launched=hour))
    theirs = await forget(top, await place(launched=hour, project="project-other"))
    day = theirs.updated.date().isoformat()
    unreadable = Txn("not to be read").put(Cell.DELETED(day, theirs.uuid), Deleted({"project": "project-other"}, NOW))
    await top.cells.store("cell1").commit(unreadable)
    start = f"start={hour - timedelta(hours=1):%Y-%m-%dT%H:%M:%S}"
    usage = (await api().get(f"/os-simple-tenant-usage/project-demo?{start}"))["tenant_usage"]
    assert [s["instance_id"] for s in usage["server_usages"]] == [mine.uuid]
    since = f"changes-since={hour:%Y-%m-%dT%H:%M:%SZ}"
    assert ids((await api().get(f"/servers?{since}"))["servers"]) == [mine.uuid]


async def test_markers_of_other_lists_are_looked_for_apart_from_the_filters(
    api: Api, top: Top, place: Place, flavor: str
) -> None:
    admin = api("admin", "2.66")
    for ident, ram, public in (("2", 64, True), ("3", 4096, True), ("4", 4096, False)):
        body = {"id": ident, "name": f"f{ident}", "ram": ram, "vcpus": 1, "disk": 1}
        await admin.ok("POST", "/flavors", {"flavor": {**body, "os-flavor-access:is_public": public}})
    assert ids((await api().get("/flavors?minRam=1000&marker=2"))["flavors"]) == ["3"]
    assert await api().refused(400, "GET", "/flavors?marker=4") == "marker [4] not found"
    assert ids((await admin.get("/flavors?is_public=true&marker=2"))["flavors"]) == ["3"]

    server, txn = await place(), Txn("history")
    for n in range(3):
        at = NOW - timedelta(days=n)
        action = Action(
            server.uuid, f"a{n}", f"req-{n}", server.user, server.project, at, at, message=None, events=(), story=()
        )
        txn.put(Cell.ACTIONS(server.uuid, f"req-{n}"), action)
    await top.cells.store("cell1").commit(txn)
    until = f"{NOW - timedelta(hours=30):%Y-%m-%dT%H:%M:%SZ}"
    path = f"/servers/{server.uuid}/os-instance-actions?changes-before={until}&marker=req-0"
    assert [a["request_id"] for a in (await admin.get(path))["instanceActions"]] == ["req-2"]
