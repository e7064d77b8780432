"""The Placement API as its clients see it: stories, one for each noun."""

from uuid import uuid4

import pytest
from placement_client import Client, claim

from control.placement.api.operation import Operation
from control.placement.api.table import OPERATIONS

GHOST = "00000000-dead-beef-0000-000000000000"


NEW = [o for o in OPERATIONS if o.since and not (o.method == "PUT" and o.path.startswith("/resource_classes"))]


@pytest.mark.parametrize("operation", NEW, ids=lambda o: o.name)
async def test_an_operation_exists_from_its_version_on(api: Client, operation: Operation) -> None:
    path = operation.path.format(uuid=GHOST, name="CUSTOM_A", consumer_uuid=GHOST, resource_class="VCPU")
    before = await api.at(f"1.{operation.since - 1}").send(operation.method, path, {})
    assert before.status_code == operation.outside
    since = await api.at(f"1.{operation.since}").send(operation.method, path, {})
    assert since.status_code != 405
    assert "could not be found.\n\n   " not in since.text  # the text of a path that is not there


async def test_versions_are_told_to_anybody_and_others_are_refused(api: Client) -> None:
    answer = await api.http.get("/")
    assert answer.json()["versions"][0]["max_version"] == "1.39"
    assert (await api.http.get("/resource_providers")).status_code == 401
    refused = await api.at("1.40").send("GET", "/resource_providers")
    assert refused.status_code == 406
    assert refused.json()["errors"][0]["max_version"] == "1.39"
    latest = await api.at("latest").send("GET", "/resource_providers")
    assert latest.headers["openstack-api-version"] == "placement 1.39"
    assert latest.headers["cache-control"] == "no-cache"
    assert "last-modified" not in (await api.at("1.14").send("GET", "/resource_providers")).headers


async def test_a_provider_is_made_named_and_deleted(api: Client) -> None:
    uuid = await api.provider("host one")
    detail = await api.refused(409, "POST", "/resource_providers", {"name": "host one"}, "duplicate_name")
    assert "Conflicting resource provider name: host one already exists." in detail
    await api.ok("PUT", f"/resource_providers/{uuid}", {"name": "renamed/odd%name"})
    assert await api.provider("host one") != uuid  # the name is free again
    (found,) = (await api.get("/resource_providers?name=renamed/odd%25name"))["resource_providers"]
    assert found["uuid"] == found["root_provider_uuid"] == uuid
    await api.ok("DELETE", f"/resource_providers/{uuid}", code=204)
    await api.refused(404, "DELETE", f"/resource_providers/{uuid}")
    await api.provider("renamed/odd%name")


async def test_trees_neither_loop_nor_lose_parents(api: Client) -> None:
    root = await api.provider("root")
    middle = await api.provider("middle", root)
    leaf = await api.provider("leaf", middle)
    loop = {"name": "root", "parent_provider_uuid": leaf}
    assert "creating loop in the provider tree is not allowed." in await api.refused(
        400, "PUT", f"/resource_providers/{root}", loop
    )
    await api.refused(409, "DELETE", f"/resource_providers/{middle}", label="resource_provider.cannot_delete_parent")
    moved = {"name": "leaf", "parent_provider_uuid": root}
    assert "re-parenting a provider" in await api.at("1.36").refused(400, "PUT", f"/resource_providers/{leaf}", moved)
    await api.ok("PUT", f"/resource_providers/{leaf}", moved)
    await api.ok("DELETE", f"/resource_providers/{middle}", code=204)
    in_tree = await api.get(f"/resource_providers?in_tree={leaf}")
    assert {rp["uuid"] for rp in in_tree["resource_providers"]} == {root, leaf}
    alone = await api.ok("PUT", f"/resource_providers/{leaf}", {"name": "leaf", "parent_provider_uuid": None})
    assert alone["root_provider_uuid"] == leaf
    await api.ok("DELETE", f"/resource_providers/{root}", code=204)
    await api.refused(400, "POST", "/resource_providers", {"name": "x", "parent_provider_uuid": GHOST})


async def test_inventories_go_with_generations(api: Client) -> None:
    uuid = await api.provider("host")
    path = f"/resource_providers/{uuid}/inventories"
    whole = await api.offer(uuid, 0, VCPU={"total": 8}, DISK_GB={"total": 100, "reserved": 10})
    assert whole["resource_provider_generation"] == 1
    stale = {"resource_provider_generation": 0, "inventories": {}}
    await api.refused(409, "PUT", path, stale, "concurrent_update")
    added = await api.ok("POST", path, {"resource_class": "MEMORY_MB", "total": 512}, 201)
    assert (added["max_unit"], added["resource_provider_generation"]) == (2147483647, 2)
    await api.refused(409, "POST", path, {"resource_class": "MEMORY_MB", "total": 512}, "concurrent_update")
    changed = {"total": 16, "resource_provider_generation": 2}
    assert (await api.ok("PUT", f"{path}/VCPU", changed))["resource_provider_generation"] == 3
    full = {"total": 4, "reserved": 4, "resource_provider_generation": 3}
    await api.at("1.25").refused(400, "PUT", f"{path}/VCPU", full)
    await api.ok("PUT", f"{path}/VCPU", full)
    await api.refused(400, "PUT", f"{path}/VCPU", {**full, "reserved": 5, "resource_provider_generation": 4})
    await api.refused(400, "PUT", f"{path}/PCI_DEVICE", {"total": 1, "resource_provider_generation": 4})
    await api.refused(404, "PUT", f"{path}/CUSTOM_NONE", {"total": 1, "resource_provider_generation": 4})
    await api.ok("DELETE", f"{path}/VCPU", code=204)
    await api.refused(404, "DELETE", f"{path}/VCPU")
    await api.at("1.4").refused(405, "DELETE", path)
    await api.ok("DELETE", path, code=204)
    assert (await api.get(path)) == {"inventories": {}, "resource_provider_generation": 6}


async def test_a_consumer_holds_what_it_claimed_last(api: Client) -> None:
    one, two, consumer = await api.provider("one", VCPU=8), await api.provider("two", VCPU=8), str(uuid4())
    path = f"/allocations/{consumer}"
    await api.refused(409, "PUT", path, claim({one: {"VCPU": 1}}, 3), "concurrent_update")
    await api.ok("PUT", path, claim({one: {"VCPU": 3}}), 204)
    held = await api.get(path)
    assert held["allocations"] == {one: {"resources": {"VCPU": 3}, "generation": 2}}
    assert (held["consumer_generation"], held["consumer_type"], held["project_id"]) == (1, "INSTANCE", "project")
    await api.refused(409, "PUT", path, claim({two: {"VCPU": 1}}), "concurrent_update")
    await api.ok("PUT", path, claim({two: {"VCPU": 5}}, 1), 204)
    assert (await api.get(f"/resource_providers/{one}/usages"))["usages"] == {"VCPU": 0}
    there = (await api.get(f"/resource_providers/{two}/allocations"))["allocations"]
    assert there == {consumer: {"resources": {"VCPU": 5}, "consumer_generation": 2}}
    await api.refused(409, "DELETE", f"/resource_providers/{two}", label="resource_provider.inuse")
    await api.refused(409, "DELETE", f"/resource_providers/{two}/inventories", label="inventory.inuse")
    await api.ok("PUT", path, claim({}, 2), 204)
    assert await api.get(path) == {"allocations": {}}
    await api.refused(404, "DELETE", path)


@pytest.mark.parametrize(
    ("version", "body"),
    [
        ("1.0", {"allocations": [{"resource_provider": {"uuid": "RP"}, "resources": {"VCPU": 1}}]}),
        ("1.8", {"allocations": [{"resource_provider": {"uuid": "RP"}, "resources": {"VCPU": 1}}], "P": "U"}),
        ("1.12", {"allocations": {"RP": {"resources": {"VCPU": 1}}}, "P": "U"}),
        ("1.28", {"allocations": {"RP": {"resources": {"VCPU": 1}}}, "P": "U", "consumer_generation": None}),
    ],
)
async def test_every_historical_form_of_a_claim(api: Client, version: str, body: dict[str, object]) -> None:
    uuid, consumer = await api.provider("host", VCPU=8), str(uuid4())
    if body.pop("P", None):
        body |= {"project_id": "p", "user_id": "u"}
    held = body["allocations"]
    body["allocations"] = (
        [{**held[0], "resource_provider": {"uuid": uuid}}] if isinstance(held, list) else {uuid: held["RP"]}
    )
    await api.at(version).ok("PUT", f"/allocations/{consumer}", body, 204)
    shown = await api.get(f"/allocations/{consumer}")
    assert shown["allocations"][uuid]["resources"] == {"VCPU": 1}
    assert shown["consumer_type"] == "unknown"
    assert shown["project_id"] == ("p" if "project_id" in body else "00000000-0000-0000-0000-000000000000")


@pytest.mark.parametrize(
    ("inventory", "amount", "why"),
    [
        ({"total": 8}, 9, "capacity"),
        ({"total": 8, "allocation_ratio": 1.5}, 13, "capacity"),
        ({"total": 8, "allocation_ratio": 1.5}, 12, ""),
        ({"total": 8, "reserved": 1}, 8, "capacity"),
        ({"total": 8, "min_unit": 2}, 1, "constraints"),
        ({"total": 8, "max_unit": 4}, 5, "constraints"),
        ({"total": 8, "step_size": 3}, 4, "constraints"),
        ({"total": 8, "step_size": 3}, 6, ""),
    ],
)
async def test_what_fits(api: Client, inventory: dict[str, float], amount: int, why: str) -> None:
    uuid = await api.provider("host")
    await api.offer(uuid, 0, VCPU=inventory)
    body = claim({uuid: {"VCPU": amount}})
    if why:
        assert why in await api.refused(409, "PUT", f"/allocations/{uuid4()}", body, "undefined_code")
    else:
        await api.ok("PUT", f"/allocations/{uuid4()}", body, 204)


async def test_who_is_over_capacity_may_shrink_but_not_grow(api: Client) -> None:
    uuid, consumer = await api.provider("host", VCPU=8), str(uuid4())
    await api.ok("PUT", f"/allocations/{consumer}", claim({uuid: {"VCPU": 6}}), 204)
    await api.offer(uuid, 2, VCPU={"total": 2})
    await api.refused(409, "PUT", f"/allocations/{consumer}", claim({uuid: {"VCPU": 7}}, 1))
    await api.ok("PUT", f"/allocations/{consumer}", claim({uuid: {"VCPU": 5}}, 1), 204)
    await api.refused(409, "PUT", f"/allocations/{uuid4()}", claim({uuid: {"VCPU": 1}}))


async def test_several_consumers_all_or_nothing(api: Client) -> None:
    """A live migration: the server moves to the new host, the migration takes over the old one."""
    old, new = await api.provider("old", VCPU=4), await api.provider("new", VCPU=4)
    server, migration = str(uuid4()), str(uuid4())
    await api.ok("PUT", f"/allocations/{server}", claim({old: {"VCPU": 4}}), 204)
    too_much = {server: claim({new: {"VCPU": 5}}, 1), migration: claim({old: {"VCPU": 4}})}
    await api.refused(409, "POST", "/allocations", too_much)
    assert await api.get(f"/allocations/{migration}") == {"allocations": {}}
    moved = {
        server: claim({new: {"VCPU": 4}}, 1),
        migration: claim({old: {"VCPU": 4}}, consumer_type="MIGRATION"),
    }
    await api.ok("POST", "/allocations", moved, 204)
    assert (await api.get("/usages?project_id=project"))["usages"] == {
        "INSTANCE": {"consumer_count": 1, "VCPU": 4},
        "MIGRATION": {"consumer_count": 1, "VCPU": 4},
    }
    everything = await api.get("/usages?project_id=project&consumer_type=all")
    assert everything["usages"] == {"all": {"consumer_count": 2, "VCPU": 8}}
    assert (await api.at("1.37").get("/usages?project_id=project"))["usages"] == {"VCPU": 8}
    unknown = {server: claim({GHOST: {"VCPU": 1}}, 2)}
    assert f"'{GHOST}' that does not exist" in await api.refused(400, "POST", "/allocations", unknown)
    nonsense = {server: claim({new: {"CUSTOM_PONY": 1}}, 2)}
    assert "No such resource class CUSTOM_PONY." in await api.refused(400, "POST", "/allocations", nonsense)


async def test_custom_traits_and_classes_live_as_long_as_they_are_used(api: Client) -> None:
    uuid = await api.provider("host")
    assert (await api.send("PUT", "/traits/CUSTOM_RAID")).status_code == 201
    assert (await api.send("PUT", "/traits/CUSTOM_RAID")).status_code == 204
    await api.refused(400, "PUT", "/traits/HW_CPU_X86_AVX")
    await api.refused(400, "DELETE", "/traits/HW_CPU_X86_AVX")
    traits = {"traits": ["CUSTOM_RAID", "HW_CPU_X86_AVX"], "resource_provider_generation": 0}
    await api.ok("PUT", f"/resource_providers/{uuid}/traits", traits)
    unknown = {"traits": ["CUSTOM_WHAT"], "resource_provider_generation": 1}
    assert "No such trait CUSTOM_WHAT" in await api.refused(400, "PUT", f"/resource_providers/{uuid}/traits", unknown)
    await api.refused(409, "DELETE", "/traits/CUSTOM_RAID")
    assert (await api.get("/traits?associated=true"))["traits"] == ["HW_CPU_X86_AVX", "CUSTOM_RAID"]
    await api.ok("DELETE", f"/resource_providers/{uuid}/traits", code=204)
    await api.ok("DELETE", "/traits/CUSTOM_RAID", code=204)
    await api.refused(404, "GET", "/traits/CUSTOM_RAID")
    assert (await api.get("/traits?name=startswith:CUSTOM_"))["traits"] == []

    await api.ok("POST", "/resource_classes", {"name": "CUSTOM_GOLD"}, 201)
    await api.refused(409, "POST", "/resource_classes", {"name": "CUSTOM_GOLD"})
    await api.offer(uuid, 2, CUSTOM_GOLD={"total": 3})
    await api.refused(409, "DELETE", "/resource_classes/CUSTOM_GOLD")
    await api.ok("PUT", f"/allocations/{GHOST}", claim({uuid: {"CUSTOM_GOLD": 2}}), 204)
    renamed = await api.at("1.6").ok("PUT", "/resource_classes/CUSTOM_GOLD", {"name": "CUSTOM_SILVER"})
    assert renamed["name"] == "CUSTOM_SILVER"
    assert (await api.get(f"/resource_providers/{uuid}/usages"))["usages"] == {"CUSTOM_SILVER": 2}
    assert (await api.get(f"/allocations/{GHOST}"))["allocations"][uuid]["resources"] == {"CUSTOM_SILVER": 2}
    await api.refused(404, "GET", "/resource_classes/CUSTOM_GOLD")
    await api.ok("DELETE", f"/allocations/{GHOST}", code=204)
    await api.ok("DELETE", f"/resource_providers/{uuid}/inventories", code=204)
    await api.ok("DELETE", "/resource_classes/CUSTOM_SILVER", code=204)


async def test_aggregates_count_generations_since_1_19(api: Client) -> None:
    uuid, aggregate = await api.provider("host", VCPU=1), str(uuid4())
    path = f"/resource_providers/{uuid}/aggregates"
    assert await api.at("1.18").ok("PUT", path, [aggregate]) == {"aggregates": [aggregate]}
    assert (await api.get(path))["resource_provider_generation"] == 1
    stale = {"aggregates": [], "resource_provider_generation": 0}
    await api.refused(409, "PUT", path, stale, "concurrent_update")
    fresh = await api.ok("PUT", path, {"aggregates": [aggregate], "resource_provider_generation": 1})
    assert fresh["resource_provider_generation"] == 2
    found = await api.get(f"/resource_providers?member_of={aggregate}&resources=VCPU:1")
    assert [rp["uuid"] for rp in found["resource_providers"]] == [uuid]


async def test_a_reshape_moves_inventory_with_what_is_allocated_from_it(api: Client) -> None:
    root, consumer = await api.provider("root", VCPU=8, VGPU=4), str(uuid4())
    card = await api.provider("card", root)
    await api.ok("PUT", f"/allocations/{consumer}", claim({root: {"VCPU": 2, "VGPU": 1}}), 204)

    def shape(claims: dict[str, object], root_generation: int = 2) -> dict[str, object]:
        offers = {
            root: {"resource_provider_generation": root_generation, "inventories": {"VCPU": {"total": 8}}},
            card: {"resource_provider_generation": 0, "inventories": {"VGPU": {"total": 4}}},
        }
        return {"inventories": offers, "allocations": claims}

    moved = {consumer: claim({root: {"VCPU": 2}, card: {"VGPU": 1}}, 1)}
    await api.refused(409, "POST", "/reshaper", shape({}), "inventory.inuse")
    await api.refused(409, "POST", "/reshaper", shape(moved, 7), "concurrent_update")
    assert (await api.get(f"/resource_providers/{card}/inventories"))["inventories"] == {}
    await api.ok("POST", "/reshaper", shape(moved), 204)
    assert (await api.get(f"/resource_providers/{card}/usages"))["usages"] == {"VGPU": 1}
    assert (await api.get(f"/resource_providers/{root}/usages"))["usages"] == {"VCPU": 2}
    ghost = {"inventories": {GHOST: {"resource_provider_generation": 0, "inventories": {}}}, "allocations": {}}
    await api.refused(400, "POST", "/reshaper", ghost, "resource_provider.not_found")


async def test_a_candidate_can_be_claimed_as_it_is(api: Client) -> None:
    uuid, consumer = await api.provider("host", VCPU=8, MEMORY_MB=512), str(uuid4())
    found = await api.get("/allocation_candidates?resources=VCPU:8,MEMORY_MB:512&limit=1")
    assert found["provider_summaries"][uuid]["resources"]["VCPU"] == {"capacity": 8, "used": 0}
    body = claim({}) | found["allocation_requests"][0]
    await api.ok("PUT", f"/allocations/{consumer}", body, 204)
    assert (await api.get("/allocation_candidates?resources=VCPU:1"))["allocation_requests"] == []
    await api.refused(400, "GET", "/allocation_candidates?resources=CUSTOM_NO:1")
    await api.refused(400, "GET", "/allocation_candidates?resources=VCPU:1&required=CUSTOM_NO")


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (b'{"name": ', {"content-type": "application/json"}, 400),
        (b"[]", {"content-type": "application/json"}, 400),
        (b'{"name": "x", "colour": "red"}', {"content-type": "application/json"}, 400),
        (b'{"name": "x"}', {"content-type": "text/plain"}, 415),
        (b'{"name": "x"}', {}, 400),
    ],
)
async def test_a_bad_body_is_told_from_a_bad_type(api: Client, body: bytes, headers: dict[str, str], code: int) -> None:
    sent = {"x-auth-token": "admin", "accept": "application/json", **headers}
    answer = await api.http.post("/resource_providers", content=body, headers=sent)
    assert answer.status_code == code
    assert answer.json()["errors"][0]["status"] == code


@pytest.mark.parametrize(
    "query",
    [
        "resources=VCPU",
        "resources=VCPU:0",
        "resources=",
        "resources=VCPU:1&limit=0",
        "resources=VCPU:1&required=",
        "resources=VCPU:1&required=in:HW_CPU_X86_AVX,!HW_CPU_X86_SSE",
        "resources=VCPU:1&required=HW_CPU_X86_AVX,!HW_CPU_X86_AVX",
        "resources=VCPU:1&member_of=here",
        "resources=VCPU:1&in_tree=here",
        "resources=VCPU:1&nonsense=1",
        "resources1=VCPU:1&resources2=VCPU:1",
        "resources1=VCPU:1&required2=HW_CPU_X86_AVX&group_policy=none",
        "resources1=VCPU:1&same_subtree=1,3",
        "resources=VCPU:1&root_required=HW_CPU_X86_AVX&root_required=HW_CPU_X86_SSE",
        "required=HW_CPU_X86_AVX",
    ],
)
async def test_a_query_that_means_nothing_is_refused(api: Client, query: str) -> None:
    await api.refused(400, "GET", f"/allocation_candidates?{query}")
