"""Quotas of a project's users, and classes, over HTTP."""

from collections.abc import Callable
from typing import Any

from compute_client import Client

from control.top import Top
from kv.keys import Global

Api = Callable[..., Client]

PROJECT = "/os-quota-sets/project-demo"
MEMBER, COLLEAGUE = f"{PROJECT}?user_id=user-member", f"{PROJECT}?user_id=user-colleague"
CLASSES = "/os-quota-class-sets"


async def limits(client: Client, path: str) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(path))["quota_set"]
    return found


async def boot(client: Client, asked: dict[str, Any], **more: Any) -> Any:
    return (await client.ok("POST", "/servers", {"server": {**asked, **more}}, 202))["server"]


async def test_a_user_has_the_project_s_limits_but_for_the_own(api: Api) -> None:
    admin = api("admin")
    await admin.ok("PUT", PROJECT, {"quota_set": {"instances": 9, "cores": 8}})
    changed = (await admin.ok("PUT", MEMBER, {"quota_set": {"instances": 4}}))["quota_set"]
    assert (changed["instances"], changed["cores"]) == (4, 8)
    assert "id" not in changed
    shown = await limits(api("reader"), MEMBER)
    assert (shown["id"], shown["instances"], shown["cores"]) == ("project-demo", 4, 8)
    assert (await limits(admin, COLLEAGUE))["instances"] == 9
    assert (await limits(admin, PROJECT))["instances"] == 9
    await admin.ok("PUT", PROJECT, {"quota_set": {"cores": 7}})
    assert (await limits(admin, MEMBER))["cores"] == 7


async def test_a_user_is_refused_at_the_own_limit_and_others_are_not(api: Api, asked: dict[str, Any]) -> None:
    await api("admin").ok("PUT", MEMBER, {"quota_set": {"cores": 1}})
    member, colleague = api("member", "2.37"), api("colleague", "2.37")
    first = await boot(member, asked)
    refusal = await member.refused(403, "POST", "/servers", {"server": asked})
    assert refusal == "Quota exceeded for cores: Requested 1, but already used 1 of 1 cores"
    await boot(colleague, asked, min_count=2)
    used = {
        path: (await api("admin").get(path.replace("?", "/detail?") if "?" in path else f"{path}/detail"))["quota_set"]
        for path in (PROJECT, MEMBER, COLLEAGUE)
    }
    assert {path: shown["cores"]["in_use"] for path, shown in used.items()} == {PROJECT: 3, MEMBER: 1, COLLEAGUE: 2}
    assert used[MEMBER]["cores"] == {"limit": 1, "in_use": 1, "reserved": 0}
    assert (await member.get("/limits"))["limits"]["absolute"]["maxTotalCores"] == 20
    assert first["id"]


async def test_other_limits_of_a_user_hold_too(api: Api, asked: dict[str, Any]) -> None:
    own = {"key_pairs": 1, "server_groups": 1, "metadata_items": 1, "server_group_members": 1}
    await api("admin", "2.57").ok("PUT", MEMBER, {"quota_set": own})
    member, colleague = api("member", "2.64"), api("colleague", "2.64")
    group = {"server_group": {"name": "g", "policy": "affinity"}}
    made = (await member.ok("POST", "/os-server-groups", group))["server_group"]["id"]
    assert await member.refused(403, "POST", "/os-server-groups", group) == "Quota exceeded, too many server groups."
    await colleague.ok("POST", "/os-server-groups", group)
    await member.ok("POST", "/os-keypairs", {"keypair": {"name": "a"}}, 201)
    assert await member.refused(403, "POST", "/os-keypairs", {"keypair": {"name": "b"}}) == (
        "Quota exceeded, too many key pairs."
    )
    await colleague.ok("POST", "/os-keypairs", {"keypair": {"name": "a"}}, 201)
    two = {**asked, "metadata": {"a": "1", "b": "2"}}
    assert await member.refused(403, "POST", "/servers", {"server": two}) == (
        "Maximum number of metadata items exceeds 1"
    )
    await boot(colleague, two)
    several = {"server": {**asked, "min_count": 2}, "os:scheduler_hints": {"group": made}}
    assert await member.refused(403, "POST", "/servers", several) == "Quota exceeded, too many servers in group"
    await member.ok("DELETE", f"/os-server-groups/{made}", code=204)
    await member.ok("POST", "/os-server-groups", group)


async def test_users_share_what_the_project_has(api: Api, asked: dict[str, Any]) -> None:
    admin = api("admin")
    await admin.ok("PUT", PROJECT, {"quota_set": {"instances": 10}})
    await admin.ok("PUT", MEMBER, {"quota_set": {"instances": 6}})
    assert await admin.refused(400, "PUT", COLLEAGUE, {"quota_set": {"instances": 5}}) == (
        "Quota limit 5 for instances must be less than or equal to 4."
    )
    await admin.ok("PUT", COLLEAGUE, {"quota_set": {"instances": 4}})
    assert await admin.refused(400, "PUT", PROJECT, {"quota_set": {"instances": 9}}) == (
        "Quota limit 9 for instances must be greater than or equal to already used and reserved 10."
    )
    await admin.ok("PUT", COLLEAGUE, {"quota_set": {"instances": 50, "force": True}})
    assert (await limits(admin, COLLEAGUE))["instances"] == 50
    await boot(api("member", "2.37"), asked)
    assert "already used and reserved 1." in await admin.refused(400, "PUT", MEMBER, {"quota_set": {"instances": 0}})


async def test_limits_are_given_up(api: Api, top: Top) -> None:
    admin = api("admin")
    for path in (PROJECT, MEMBER, COLLEAGUE):
        await admin.ok("PUT", path, {"quota_set": {"instances": 3, "force": True}})
    await admin.ok("DELETE", MEMBER, code=202)
    assert [(await limits(admin, path))["instances"] for path in (MEMBER, COLLEAGUE)] == [3, 3]
    assert await top.store.count(Global.USER_QUOTA_LIMITS.under("project-demo", "")) == 1
    await admin.ok("DELETE", PROJECT, code=202)
    assert [(await limits(admin, path))["instances"] for path in (PROJECT, MEMBER, COLLEAGUE)] == [10, 10, 10]
    assert await top.store.count(Global.USER_QUOTA_LIMITS.under("project-demo", "")) == 0
    await api().refused(403, "PUT", MEMBER, {"quota_set": {"instances": 5}})


async def test_a_project_that_nobody_knows(api: Api) -> None:
    admin, path = api("admin"), "/os-quota-sets/none"
    text = "Project ID none is not a valid project."
    for tail in ("", "/detail", "/defaults"):
        assert await admin.refused(400, "GET", path + tail) == text
    assert await admin.refused(400, "PUT", path, {"quota_set": {"cores": 1}}) == text
    await admin.ok("DELETE", path, code=202)


async def test_a_class_of_another_name_is_kept_without_effect(api: Api) -> None:
    admin = api("admin", "2.50")
    changed = await admin.ok("PUT", f"{CLASSES}/gold", {"quota_class_set": {"cores": 99}})
    assert changed["quota_class_set"]["cores"] == 99
    shown = (await admin.get(f"{CLASSES}/gold"))["quota_class_set"]
    assert (shown["id"], shown["cores"], shown["instances"]) == ("gold", 99, 10)
    assert (await limits(admin, PROJECT))["cores"] == 20
