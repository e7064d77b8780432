"""Server groups over HTTP."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from compute_client import Client

from control.top import Top
from kv.keys import Global
from kv.txn import Txn
from schemas.quota import QuotaLimits

Api = Callable[..., Client]


async def make(client: Client, policy: str = "anti-affinity", **more: Any) -> Any:
    body = {"name": "rack", "policy": policy, **more}
    return (await client.ok("POST", "/os-server-groups", {"server_group": body}))["server_group"]


async def test_a_group_in_every_shape(api: Api) -> None:
    old = api("member", "2.12")
    asked = {"server_group": {"name": "rack", "policies": ["anti-affinity"]}}
    made = (await old.ok("POST", "/os-server-groups", asked))["server_group"]
    assert made == {"id": made["id"], "name": "rack", "policies": ["anti-affinity"], "members": [], "metadata": {}}
    owned = (await api("member", "2.13").get(f"/os-server-groups/{made['id']}"))["server_group"]
    assert owned == {**made, "project_id": "project-demo", "user_id": "user-member"}
    new = (await api("member", "2.64").get(f"/os-server-groups/{made['id']}"))["server_group"]
    del owned["policies"], owned["metadata"]
    assert new == {**owned, "policy": "anti-affinity", "rules": {}}
    ruled = await make(api("member", "2.64"), rules={"max_server_per_host": "3"})
    assert ruled["rules"] == {"max_server_per_host": 3}
    listed = (await api("reader", "2.64").get("/os-server-groups"))["server_groups"]
    assert [g["id"] for g in listed] == [made["id"], ruled["id"]]
    page = await api("reader", "2.64").get("/os-server-groups?limit=1&offset=1")
    assert [g["id"] for g in page["server_groups"]] == [ruled["id"]]
    await old.ok("DELETE", f"/os-server-groups/{made['id']}", code=204)
    message = await old.refused(404, "GET", f"/os-server-groups/{made['id']}")
    assert message == f"Instance group {made['id']} could not be found."
    await old.refused(404, "DELETE", f"/os-server-groups/{made['id']}")


@pytest.mark.parametrize(
    ("version", "body"),
    [
        ("2.14", {"name": "x", "policies": ["soft-affinity"]}),
        ("2.15", {"name": "x", "policies": ["affinity", "anti-affinity"]}),
        ("2.15", {"name": "x", "policies": []}),
        ("2.15", {"name": "x", "policy": "affinity"}),
        ("2.15", {"policies": ["affinity"]}),
        ("2.64", {"name": "x", "policies": ["affinity"]}),
        ("2.64", {"name": "x", "policy": "together"}),
        ("2.64", {"name": "x", "policy": "affinity", "rules": {"max_server_per_host": 2}}),
        ("2.64", {"name": "x", "policy": "anti-affinity", "rules": {"max_server_per_host": 0}}),
        ("2.64", {"name": "x", "policy": "anti-affinity", "rules": {"other": 1}}),
        ("2.64", {"name": "", "policy": "anti-affinity"}),
    ],
)
async def test_what_no_group_is(api: Api, version: str, body: dict[str, Any]) -> None:
    await api("member", version).refused(400, "POST", "/os-server-groups", {"server_group": body})


async def test_groups_are_their_projects(api: Api) -> None:
    made = await make(api("member", "2.64"))
    stranger = api("stranger", "2.64")
    assert (await stranger.get("/os-server-groups?all_projects=1"))["server_groups"] == []
    await stranger.refused(404, "GET", f"/os-server-groups/{made['id']}")
    await stranger.refused(404, "DELETE", f"/os-server-groups/{made['id']}")
    await api("reader", "2.64").refused(
        403, "POST", "/os-server-groups", {"server_group": {"name": "x", "policy": "affinity"}}
    )
    everyone = await api("admin", "2.64").get("/os-server-groups?all_projects")
    assert [g["id"] for g in everyone["server_groups"]] == [made["id"]]
    assert (await api("admin", "2.64").get("/os-server-groups"))["server_groups"] == []
    assert (await api("admin", "2.74").send("GET", "/os-server-groups?x=1")).status_code == 200
    await api("admin", "2.75").refused(400, "GET", "/os-server-groups?x=1")


async def test_no_race_makes_more_groups_than_the_quota_allows(api: Api, top: Top) -> None:
    await top.store.commit(Txn("limit").put(Global.QUOTA_LIMITS("project-demo"), QuotaLimits({"server_groups": 3})))
    member, body = api("member", "2.64"), {"server_group": {"name": "x", "policy": "affinity"}}
    answers = await asyncio.gather(*(member.send("POST", "/os-server-groups", body) for _ in range(6)))
    assert sorted(a.status_code for a in answers) == [200] * 3 + [403] * 3
    used = (await member.get("/limits"))["limits"]["absolute"]
    assert (used["maxServerGroups"], used["totalServerGroupsUsed"]) == (3, 3)
    refused = await member.refused(403, "POST", "/os-server-groups", body)
    assert refused == "Quota exceeded, too many server groups."
    gone = next(a for a in answers if a.status_code == 200).json()["server_group"]["id"]
    await member.ok("DELETE", f"/os-server-groups/{gone}", code=204)
    await member.ok("POST", "/os-server-groups", body)


async def test_servers_join_by_hint(api: Api, asked: dict[str, Any], top: Top) -> None:
    member = api("member", "2.71")
    group = await make(member)
    hint = {"os:scheduler_hints": {"group": group["id"]}}
    ids = [(await member.ok("POST", "/servers", {"server": asked, **hint}, code=202))["server"]["id"] for _ in "ab"]
    assert (await member.get(f"/os-server-groups/{group['id']}"))["server_group"]["members"] == ids
    assert (await member.get(f"/servers/{ids[0]}"))["server"]["server_groups"] == [group["id"]]
    assert "server_groups" not in (await member.get("/servers/detail"))["servers"][0]
    await top.store.commit(
        Txn("limit").put(Global.QUOTA_LIMITS("project-demo"), QuotaLimits({"server_group_members": 3}))
    )
    two = {"server": {**asked, "min_count": 2}, **hint}
    assert await member.refused(403, "POST", "/servers", two) == "Quota exceeded, too many servers in group"
    await member.ok("POST", "/servers", {"server": asked, **hint}, code=202)
    await member.ok("DELETE", f"/os-server-groups/{group['id']}", code=204)
    assert (await member.get(f"/servers/{ids[0]}"))["server"]["server_groups"] == []
    text = await member.refused(400, "POST", "/servers", {"server": asked, **hint})
    assert text == f"Instance group {group['id']} could not be found."
    foreign = await make(api("stranger", "2.64"))
    for unknown in (foreign["id"], str(uuid4())):
        body = {"server": asked, "os:scheduler_hints": {"group": unknown}}
        await member.refused(400, "POST", "/servers", body)
