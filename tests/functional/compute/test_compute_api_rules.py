"""The rules that hold for every operation: versions, errors, tokens, ids."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from compute_client import Client

from control.compute.microversions import MAX, text

Api = Callable[..., Client]


async def test_discovery_needs_no_token(http: httpx.AsyncClient) -> None:
    every = await http.get("/")
    assert every.status_code == 200
    assert [(v["id"], v["status"]) for v in every.json()["versions"]] == [("v2.0", "SUPPORTED"), ("v2.1", "CURRENT")]
    one = (await http.get("/v2.1/")).json()["version"]
    assert (one["version"], one["min_version"]) == (text(MAX), "2.1")
    assert one["links"][0] == {"rel": "self", "href": "http://api.test:8774/v2.1/"}
    redirect = await http.get("/v2.1")
    assert (redirect.status_code, redirect.headers["location"]) == (302, "http://api.test:8774/v2.1/")
    choices = await http.get("/servers")
    assert choices.status_code == 300
    assert choices.json()["choices"][1]["links"][0]["href"] == "http://api.test:8774/v2.1/servers"


async def test_an_answer_names_version_and_request(api: Api) -> None:
    answer = await api(version="2.26").send("GET", "/flavors")
    assert answer.headers["openstack-api-version"] == "compute 2.26"
    assert answer.headers["x-openstack-nova-api-version"] == "2.26"
    assert answer.headers.get_list("vary") == ["OpenStack-API-Version", "X-OpenStack-Nova-API-Version"]
    assert answer.headers["x-compute-request-id"] == answer.headers["x-openstack-request-id"]
    assert answer.headers["x-compute-request-id"].startswith("req-")


async def test_the_legacy_api_ignores_versions(http: httpx.AsyncClient) -> None:
    headers = {"X-Auth-Token": "member", "OpenStack-API-Version": "compute 9.9"}
    answer = await http.get("/v2/flavors", headers=headers)
    assert answer.status_code == 200
    assert "openstack-api-version" not in answer.headers


async def test_the_legacy_api_tolerates_unknown_keys(http: httpx.AsyncClient, api: Api) -> None:
    body = {"keypair": {"name": " mine ", "more": 1}, "extra": {}}
    answer = await http.post("/v2/os-keypairs", json=body, headers={"X-Auth-Token": "member"})
    assert answer.status_code == 200
    assert answer.json()["keypair"]["name"] == "mine"
    message = await api().refused(400, "POST", "/os-keypairs", {"keypair": {"name": "mine", "more": 1}})
    assert "Additional properties are not allowed ('more' was unexpected)" in message


@pytest.mark.parametrize("project", ["", "/project-demo"])
async def test_the_project_in_the_url_is_optional(api: Api, project: str) -> None:
    await api().get(f"{project}/servers")


REFUSALS: list[tuple[str, dict[str, Any], int, str, str]] = [
    ("no token", {"token": ""}, 401, "error", "The request you have made requires authentication."),
    ("a wrong token", {"token": "x"}, 401, "error", "The request you have made requires authentication."),
    ("an unscoped token", {"token": "nobody"}, 403, "forbidden", "The token is not scoped to a project."),
    ("an unknown path", {"path": "/nothing/here"}, 404, "itemNotFound", "The resource could not be found."),
    ("an unknown collection", {"path": "/os-nothing"}, 404, "itemNotFound", "The resource could not be found."),
    ("an unknown path of a collection", {"path": "/servers/a/b/c"}, 404, "itemNotFound", "could not be found"),
    ("another project's URL", {"path": "/p2/servers"}, 400, "badRequest", "URL's project_id 'p2'"),
    ("before its version", {"path": "/servers/x/tags"}, 404, "itemNotFound", "The resource could not be found."),
    ("a version too high", {"version": "2.999"}, 406, "computeFault", "Version 2.999 is not supported by the API."),
    ("no version", {"version": "new"}, 400, "badRequest", "API Version String new is of invalid format."),
    ("policy", {"path": "/os-services"}, 403, "forbidden", "Policy doesn't allow os_compute_api:os-services:list"),
    ("a bad limit", {"path": "/servers?limit=-1"}, 400, "badRequest", "Invalid input for query parameters limit."),
]


@pytest.mark.parametrize(("why", "what", "code", "name", "text"), REFUSALS, ids=[r[0] for r in REFUSALS])
async def test_refusals(api: Api, why: str, what: dict[str, Any], code: int, name: str, text: str) -> None:
    client = api(what.get("token", "member"), what.get("version", "2.1"))
    answer = await client.send(what.get("method", "GET"), what.get("path", "/flavors"))
    assert answer.status_code == code, answer.text
    assert list(answer.json()) == [name]
    fault = answer.json()[name]
    assert fault["code"] == code
    assert text in fault["message"]
    assert answer.headers["x-compute-request-id"].startswith("req-")


async def test_bodies_that_are_no_json(http: httpx.AsyncClient) -> None:
    async def post(content: bytes, kind: str) -> httpx.Response:
        headers = {"X-Auth-Token": "member", "Content-Type": kind}
        return await http.post("/v2.1/servers", content=content, headers=headers)

    broken = await post(b'{"server":', "application/json")
    assert broken.json() == {"badRequest": {"code": 400, "message": "Malformed request body"}}
    media = await post(b"<server/>", "text/xml")
    assert media.json() == {"badMediaType": {"code": 415, "message": "Unsupported Content-Type"}}
    large = await post(b'{"x": "' + b"y" * 200_000 + b'"}', "application/json")
    assert large.status_code == 413
    assert list(large.json()) == ["overLimit"]
    assert large.headers["retry-after"]


async def test_actions_that_do_not_exist(api: Api) -> None:
    message = await api().refused(400, "POST", "/servers/x/action", {"os-fly": None})
    assert message == "There is no such action: os-fly"
    await api().refused(400, "POST", "/servers/x/action", {"os-start": None, "os-stop": None})
    await api().refused(400, "POST", "/servers/x/action")


async def test_openapi_is_generated(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    assert document["openapi"] == "3.1.0"
    assert document["paths"]["/servers"]["post"]["operationId"] == "servers.create"
    actions = document["paths"]["/servers/{server}/action"]["post"]["x-actions"]
    assert {"os-start", "os-stop", "reboot"} <= {a["action"] for a in actions}
    assert document["info"]["version"] == "2.100"
    old = (await http.get("/openapi.json?microversion=2.25")).json()
    assert old["info"]["version"] == "2.25"
    assert "/servers/{server}/tags" in document["paths"]
    assert "/servers/{server}/tags" not in old["paths"]
    assert (await http.get("/openapi.json?microversion=2.999")).status_code == 406
    assert (await http.get("/openapi.json?microversion=new")).status_code == 400


async def test_a_malformed_create_says_what_is_wrong(api: Api) -> None:
    body: dict[str, Any] = {"server": {"name": "x", "flavorRef": "1", "metadata": {"a": 5}}}
    message = await api().refused(400, "POST", "/servers", body)
    assert message == "Invalid input for field/attribute a. Value: 5. 5 is not of type 'string'"
    message = await api().refused(400, "POST", "/servers", {"server": {"flavorRef": "1"}})
    assert message == (
        "Invalid input for field/attribute server. Value: {'flavorRef': '1'}. 'name' is a required property"
    )
    await api("reader").refused(403, "POST", "/servers", {"server": {"name": "x", "flavorRef": "1"}})
    name = {"server": {"name": " x", "flavorRef": "1"}}
    message = await api().refused(400, "POST", "/servers", name)
    assert message.startswith("An invalid 'name' value was provided. The name must be: printable characters.")
