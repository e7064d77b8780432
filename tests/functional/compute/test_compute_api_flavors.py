"""Flavors, extra specs, access and key pairs over HTTP."""

from collections.abc import Callable
from typing import Any

from compute_client import Client

Api = Callable[..., Client]

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6Nrp2Hi4wWcWDuTFUJVBGS4EmA6vFG8bSXLPzsqm9x me"


def flavor(name: str, **more: Any) -> dict[str, Any]:
    return {"flavor": {"name": name, "ram": 512, "vcpus": 1, "disk": 1, **more}}


async def test_a_flavors_life(api: Api) -> None:
    admin = api("admin", "2.61")
    made = (await admin.ok("POST", "/flavors", flavor("small", id="s1", swap=64, description="d")))["flavor"]
    assert {k: made[k] for k in ("id", "name", "ram", "vcpus", "disk", "swap", "description", "extra_specs")} == {
        "id": "s1",
        "name": "small",
        "ram": 512,
        "vcpus": 1,
        "disk": 1,
        "swap": 64,
        "description": "d",
        "extra_specs": {},
    }
    assert (await admin.get("/flavors/s1"))["flavor"] == made
    changed = await admin.ok("PUT", "/flavors/s1", {"flavor": {"description": None}})
    assert changed["flavor"]["description"] is None
    assert await admin.refused(409, "POST", "/flavors", flavor("small")) == "Flavor with name small already exists."
    assert await admin.refused(409, "POST", "/flavors", flavor("other", id="s1")) == (
        "Flavor with ID s1 already exists."
    )
    await admin.ok("DELETE", "/flavors/s1", code=202)
    assert await admin.refused(404, "GET", "/flavors/s1") == "Flavor s1 could not be found."
    await admin.ok("POST", "/flavors", flavor("small", id="s1"))


async def test_flavors_by_version(api: Api) -> None:
    made = (await api("admin").ok("POST", "/flavors", flavor("small")))["flavor"]
    assert len(made["id"]) == 36
    assert made["swap"] == ""
    assert "description" not in made
    (brief,) = (await api(version="2.55").get("/flavors"))["flavors"]
    assert set(brief) == {"id", "name", "links", "description"}
    await api("admin", "2.54").refused(400, "POST", "/flavors", flavor("x", description="too early"))
    await api("admin", "2.54").refused(404, "PUT", f"/flavors/{made['id']}", {"flavor": {"description": "x"}})


async def test_lists_filter_sort_and_page(api: Api) -> None:
    for n, ram in enumerate((64, 256, 128)):
        await api("admin").ok("POST", "/flavors", flavor(f"f{n}", id=f"id{n}", ram=ram))
    member = api()

    async def listed(query: str) -> list[str]:
        return [f["id"] for f in (await member.get(f"/flavors/detail?{query}"))["flavors"]]

    assert await listed("") == ["id0", "id1", "id2"]
    assert await listed("minRam=128") == ["id1", "id2"]
    assert await listed("sort_key=memory_mb&sort_dir=desc") == ["id1", "id2", "id0"]
    assert await listed("limit=1&marker=id0") == ["id1"]
    page = await member.get("/flavors?limit=2")
    assert page["flavors_links"] == [{"rel": "next", "href": "http://api.test:8774/v2.1/flavors?limit=2&marker=id1"}]
    assert await member.refused(400, "GET", "/flavors?marker=none") == "marker [none] not found"
    assert await member.refused(400, "GET", "/flavors?minRam=x") == "Invalid minRam filter [x]"


async def test_private_flavors(api: Api) -> None:
    admin, member = api("admin"), api()
    await admin.ok("POST", "/flavors", flavor("secret", id="p", **{"os-flavor-access:is_public": False}))
    await member.refused(404, "GET", "/flavors/p")
    assert (await member.get("/flavors"))["flavors"] == []
    assert (await admin.get("/flavors"))["flavors"] == []
    assert len((await admin.get("/flavors?is_public=none"))["flavors"]) == 1
    add = {"addTenantAccess": {"tenant": "project-demo"}}
    granted = await admin.ok("POST", "/flavors/p/action", add)
    assert {"flavor_id": "p", "tenant_id": "project-demo"} in granted["flavor_access"]
    await admin.refused(409, "POST", "/flavors/p/action", add)
    assert [f["id"] for f in (await member.get("/flavors"))["flavors"]] == ["p"]
    remove = {"removeTenantAccess": {"tenant": "project-demo"}}
    await admin.ok("POST", "/flavors/p/action", remove)
    await admin.refused(404, "POST", "/flavors/p/action", remove)
    await member.refused(403, "GET", "/flavors/p/os-flavor-access")


async def test_extra_specs(api: Api, flavor: str) -> None:
    admin, member = api("admin"), api()
    path = f"/flavors/{flavor}/os-extra_specs"
    await admin.ok("POST", path, {"extra_specs": {"hw:cpu_policy": "shared", "n": 1}})
    assert (await member.get(path))["extra_specs"] == {"hw:cpu_policy": "shared", "n": "1"}
    assert await member.get(f"{path}/n") == {"n": "1"}
    assert await admin.ok("PUT", f"{path}/n", {"n": "2"}) == {"n": "2"}
    await admin.refused(400, "PUT", f"{path}/n", {"m": "2"})
    await admin.ok("DELETE", f"{path}/n")
    assert "no extra specs with key n" in await member.refused(404, "GET", f"{path}/n")
    await member.refused(403, "POST", path, {"extra_specs": {"a": "b"}})


async def test_key_pairs_are_imported(api: Api) -> None:
    member = api(version="2.2")
    made = (await member.ok("POST", "/os-keypairs", {"keypair": {"name": "mine", "public_key": KEY}}, 201))["keypair"]
    assert set(made) == {"name", "public_key", "fingerprint", "type", "user_id"}
    assert made["fingerprint"].count(":") == 15
    shown = (await member.get("/os-keypairs/mine"))["keypair"]
    assert shown["user_id"] == "user-member"
    assert (await member.get("/os-keypairs"))["keypairs"][0]["keypair"]["name"] == "mine"
    assert await member.refused(409, "POST", "/os-keypairs", {"keypair": {"name": "mine"}}) == (
        "Key pair 'mine' already exists."
    )
    await member.ok("DELETE", "/os-keypairs/mine", code=204)
    assert await member.refused(404, "GET", "/os-keypairs/mine") == ("Keypair mine not found for user user-member")


async def test_key_pairs_are_made(api: Api) -> None:
    made = (await api().ok("POST", "/os-keypairs", {"keypair": {"name": "new"}}))["keypair"]
    assert made["private_key"].startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert made["public_key"].startswith("ssh-ed25519 ")
    await api().ok("DELETE", "/os-keypairs/new", code=202)


async def test_bad_key_pairs(api: Api) -> None:
    member = api(version="2.2")
    bad = await member.refused(400, "POST", "/os-keypairs", {"keypair": {"name": "x", "public_key": "ssh-rsa ???"}})
    assert bad == "Keypair data is invalid: failed to generate fingerprint"
    bad = await member.refused(400, "POST", "/os-keypairs", {"keypair": {"name": "a/b"}})
    assert bad == "Keypair data is invalid: Keypair name contains unsafe characters"


async def test_key_pairs_of_others_and_pages(api: Api) -> None:
    for name in ("a", "b", "c"):
        await api().ok("POST", "/os-keypairs", {"keypair": {"name": name}})
    page = await api(version="2.35").get("/os-keypairs?limit=2&marker=a")
    assert [k["keypair"]["name"] for k in page["keypairs"]] == ["b", "c"]
    assert page["keypairs_links"][0]["rel"] == "next"
    assert len((await api("admin", "2.10").get("/os-keypairs?user_id=user-member"))["keypairs"]) == 3
    await api("stranger", "2.10").refused(403, "GET", "/os-keypairs?user_id=user-member")
    assert (await api("stranger").get("/os-keypairs?user_id=user-member"))["keypairs"] == []


async def test_key_pairs_are_only_imported_since_2_92(api: Api) -> None:
    new = api(version="2.92")
    assert "'public_key' is a required property" in await new.refused(
        400, "POST", "/os-keypairs", {"keypair": {"name": "me"}}
    )
    asked = {"keypair": {"name": "me@home.org", "public_key": KEY}}
    await api(version="2.91").refused(400, "POST", "/os-keypairs", asked)
    await new.ok("POST", "/os-keypairs", asked, 201)
    assert (await new.get("/os-keypairs/me@home.org"))["keypair"]["public_key"] == KEY


async def test_certificates_are_key_pairs_too(api: Api) -> None:
    member = api(version="2.2")
    made = (await member.ok("POST", "/os-keypairs", {"keypair": {"name": "win", "type": "x509"}}, 201))["keypair"]
    assert made["private_key"].startswith("-----BEGIN PRIVATE KEY-----")
    assert made["fingerprint"].count(":") == 19
    given = {"name": "same", "type": "x509", "public_key": made["public_key"]}
    imported = (await member.ok("POST", "/os-keypairs", {"keypair": given}, 201))["keypair"]
    assert imported["fingerprint"] == made["fingerprint"]
    await member.refused(400, "POST", "/os-keypairs", {"keypair": {**given, "name": "bad", "public_key": KEY}})


async def test_known_extra_specs_are_checked_since_2_86(api: Api, flavor: str) -> None:
    old, new, path = api("admin", "2.85"), api("admin", "2.86"), f"/flavors/{flavor}/os-extra_specs"
    await old.ok("POST", path, {"extra_specs": {"hw:cpu_policy": "mine"}})
    assert await new.refused(400, "POST", path, {"extra_specs": {"hw:cpu_policy": "mine"}}) == (
        "Validation failed; 'mine' is not one of: dedicated, shared, mixed."
    )
    assert "does not appear to be a valid extra spec" in await new.refused(
        400, "PUT", f"{path}/hw:foo", {"hw:foo": "1"}
    )
    await new.ok("POST", path, {"extra_specs": {"hw:cpu_policy": "shared", "colour": "blue", "ours:x": "1"}})
