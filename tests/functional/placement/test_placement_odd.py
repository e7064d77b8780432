"""Requests that are odd but not rare: what Placement answers to each, word for word where clients look at words."""

from typing import Any

import pytest
from placement_client import Client, claim

A, B = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa", "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
GHOST = "00000000-dead-beef-0000-000000000000"
ONE = f"/resource_providers/{A}"


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "said"),
    [
        ("POST", "/resource_providers", {"name": ""}, 400, "action create failed because: name is required"),
        ("POST", "/resource_providers", {"name": "a", "uuid": A}, 409, f"provider uuid: {A} already exists."),
        ("POST", "/resource_providers", {"name": "a", "uuid": B}, 409, "provider name: a already exists."),
        (
            "PUT",
            ONE,
            {"name": "a", "parent_provider_uuid": GHOST},
            400,
            "Object action create failed because: parent provider UUID does not exist.",
        ),
        (
            "PUT",
            f"{ONE}/inventories/PCPU",
            {"total": 1, "resource_provider_generation": 1},
            400,
            "of class PCPU found.",
        ),
        # what a provider is said to be is looked at before the provider, what it is said to offer after it
        ("PUT", f"/resource_providers/{B}/traits", {"traits": "T"}, 400, "JSON does not validate"),
        ("PUT", f"/resource_providers/{B}/inventories", {"inventories": "I"}, 404, f"with uuid {B} found"),
        # no schema looks at names of classes that no class can have
        ("PUT", f"{ONE}/inventories", {"resource_provider_generation": 1, "inventories": {"é": 1}}, 400, "Bad inv"),
        (
            "POST",
            "/reshaper",
            {"inventories": {A: {"resource_provider_generation": 1, "inventories": {"é": 1}}}, "allocations": {}},
            400,
            "Bad inventory",
        ),
        ("PUT", f"/allocations/{B}", claim({A: {"VCPU": 1}}, mappings={"a b": []}), 400, "JSON does not validate"),
        ("GET", "/allocation_candidates?resources=VCPU:1&root_required=&same_subtree=", None, 400, "an empty trait"),
        ("PATCH", "/usages", None, 405, "resource. \n\n The method specified is not allowed for this resource."),
    ],
)
async def test_a_refusal_is_worded_as_by_placement(
    api: Client, method: str, path: str, body: Any, code: int, said: str
) -> None:
    await api.ok("POST", "/resource_providers", {"name": "a", "uuid": A})
    await api.offer(A, 0, VCPU={"total": 1})
    assert said in await api.refused(code, method, path, body)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("/resource_providers?name=", ["a"]),
        ("/resource_providers?name=b", []),
        ("/resource_providers?resources=VCPU:2147483648", []),
        ("/resource_providers?resources=VCPU:99999999999999999999", []),
        ("/traits?name=in:", []),
        ("/traits?name=in:CUSTOM_A,CUSTOM_B", ["CUSTOM_A"]),
        ("/traits?name=startswith:CUSTOM_", ["CUSTOM_A"]),
    ],
)
async def test_an_empty_or_vast_value_of_a_query(api: Client, query: str, found: list[str]) -> None:
    uuid = await api.provider("a")
    await api.offer(uuid, 0, VCPU={"total": 8, "step_size": 2})
    await api.send("PUT", "/traits/CUSTOM_A")
    (listed,) = (await api.get(query)).values()
    assert [one if isinstance(one, str) else one["name"] for one in listed] == found


async def test_every_trait_begins_with_nothing(api: Client) -> None:
    assert await api.get("/traits?name=startswith:") == await api.get("/traits")


async def test_classes_are_listed_in_the_order_in_which_they_came(api: Client) -> None:
    for name in ("CUSTOM_Z", "CUSTOM_A"):
        await api.send("PUT", f"/resource_classes/{name}")
    names = [found["name"] for found in (await api.get("/resource_classes"))["resource_classes"]]
    assert names[:3] == ["VCPU", "MEMORY_MB", "DISK_GB"]
    assert names[-2:] == ["CUSTOM_Z", "CUSTOM_A"]


@pytest.mark.parametrize(
    ("version", "code", "said"),
    [
        ("placement", 200, None),
        ("1.5", 200, None),
        ("placement 1.x", 400, "Invalid microversion: invalid version string: 1.x"),
        ("placement 1.-1", 406, "Invalid microversion: Unacceptable version header: 1.-1"),
        ("placement 1.40", 406, "(content of type application/json. \n\n Invalid microversion: Unacceptable version"),
    ],
)
async def test_the_header_of_the_version(api: Client, version: str, code: int, said: str | None) -> None:
    headers = {"x-auth-token": "admin", "accept": "application/json", "openstack-api-version": version}
    answer = await api.http.get("/resource_providers", headers=headers)
    assert answer.status_code == code
    if said is None:
        assert answer.headers["openstack-api-version"] == "placement 1.0"
    else:
        assert said in answer.json()["errors"][0]["detail"]


async def test_a_refusal_in_plain_text(api: Client) -> None:
    headers = {"x-auth-token": "admin", "accept": "text/plain", "content-type": "text/plain"}
    answer = await api.http.post("/resource_providers", content=b"x", headers=headers)
    assert answer.text == (
        "415 Unsupported Media Type\n\nThe request media type text/plain is not supported by this server. \n\n "
        "The media type text/plain is not supported, use application/json"
    )


async def test_providers_are_listed_in_the_order_in_which_they_were_made(api: Client) -> None:
    first, root = await api.provider("z"), await api.provider("y")
    await api.ok("DELETE", f"/resource_providers/{first}", code=204)
    await api.provider("x", root)
    middle = await api.provider("w", root)
    await api.provider("v", middle)
    for query in ("", f"?in_tree={root}"):
        listed = (await api.get(f"/resource_providers{query}"))["resource_providers"]
        assert [provider["name"] for provider in listed] == ["y", "x", "w", "v"]
