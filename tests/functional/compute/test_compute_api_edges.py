"""Bodies at the edges of what is taken: their length, their letters, their types; what Nova says of each."""

import base64
from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest
from compute_client import Client

Api = Callable[..., Client]
Asked = dict[str, Any]

UNICODE = "Größe-服务器-🦕"
LONGEST, TOO_LONG = "n" * 255, "n" * 256

NAMED: list[tuple[str, str, str, Asked]] = [
    ("admin", "/flavors", "flavor", {"ram": 1, "vcpus": 1, "disk": 1}),
    ("admin", "/os-aggregates", "aggregate", {}),
    ("member", "/os-server-groups", "server_group", {"policies": ["affinity"]}),
]


@pytest.mark.parametrize(("who", "path", "noun", "rest"), NAMED, ids=[n[2] for n in NAMED])
async def test_names_of_what_has_one(api: Api, who: str, path: str, noun: str, rest: Asked) -> None:
    client = api(who)
    for name in (LONGEST, UNICODE):
        made = await client.send("POST", path, {noun: {"name": name, **rest}})
        assert made.status_code == 200, made.text
        assert made.json()[noun]["name"] == name
    message = await client.refused(400, "POST", path, {noun: {"name": TOO_LONG, **rest}})
    assert message == f"Invalid input for field/attribute name. Value: {TOO_LONG}. '{TOO_LONG}' is too long"
    empty = await client.refused(400, "POST", path, {noun: {"name": "", **rest}})
    assert empty.startswith("Invalid input for field/attribute name. Value: .")
    for name in (" x", "x ", "a\u0007b", "a\nb"):
        message = await client.refused(400, "POST", path, {noun: {"name": name, **rest}})
        assert message == (
            "An invalid 'name' value was provided. The name must be: printable characters. "
            "Can not start or end with whitespace."
        )


async def test_names_of_servers(api: Api, asked: Asked) -> None:
    client = api(version="2.37")
    for name in (LONGEST, UNICODE):
        made = await client.ok("POST", "/servers", {"server": {**asked, "name": name}}, 202)
        assert (await client.get(f"/servers/{made['server']['id']}"))["server"]["name"] == name
    message = await client.refused(400, "POST", "/servers", {"server": {**asked, "name": TOO_LONG}})
    assert message == f"Invalid input for field/attribute name. Value: {TOO_LONG}. '{TOO_LONG}' is too long"


async def test_a_key_pairs_name_is_plain(api: Api) -> None:
    made = await api().ok("POST", "/os-keypairs", {"keypair": {"name": LONGEST}})
    assert made["keypair"]["name"] == LONGEST
    message = await api().refused(400, "POST", "/os-keypairs", {"keypair": {"name": UNICODE}})
    assert message == "Keypair data is invalid: Keypair name contains unsafe characters"


async def test_user_data_has_64_kib_less_a_byte(api: Api, asked: Asked) -> None:
    client = api(version="2.37")

    def with_data(text: str) -> Asked:
        return {"server": {**asked, "user_data": text}}

    longest = base64.b64encode(b"x" * 49_149).decode()
    assert len(longest) == 65_532
    await client.ok("POST", "/servers", with_data(longest), 202)
    for size in (49_152, 65_536 // 4 * 3 + 3):
        text = base64.b64encode(b"x" * size).decode()
        message = await client.refused(400, "POST", "/servers", with_data(text))
        assert message == f"Invalid input for field/attribute user_data. Value: {text}. '{text}' is too long"


WRONG: list[tuple[str, Any, str]] = [
    ("a list", [], "[] is not of type 'object'"),
    ("a word", "server", "'server' is not of type 'object'"),
    ("a number", 5, "5 is not of type 'object'"),
    ("an empty object", {}, "'server' is a required property"),
    ("a null", {"server": None}, "Invalid input for field/attribute server. Value: None. None is not of type 'object'"),
    (
        "a key too many",
        {"server": {"name": "web", "flavorRef": "1"}, "volume": {}},
        "Additional properties are not allowed ('volume' was unexpected)",
    ),
]


@pytest.mark.parametrize(("why", "body", "text"), WRONG, ids=[w[0] for w in WRONG])
async def test_bodies_that_are_no_servers(api: Api, why: str, body: Any, text: str) -> None:
    assert await api().refused(400, "POST", "/servers", body) == text


TYPES: list[tuple[str, Any, str]] = [
    ("name", 5, "5 is not of type 'string'"),
    ("flavorRef", [], "[] is not of type 'string', 'integer'"),
    ("imageRef", "tiny", "'tiny' is not valid under any of the given schemas"),
    ("min_count", 0, "0 is less than the minimum of 1"),
    ("min_count", 1.5, "1.5 is not of type 'integer', 'string'"),
    ("config_drive", "maybe", "'maybe' is not one of [True, 'True',"),
    ("metadata", [], "[] is not of type 'object'"),
    ("accessIPv4", "::1", "'::1' is not valid under any of the given schemas"),
    ("OS-DCF:diskConfig", "auto", "'auto' is not one of ['AUTO', 'MANUAL']"),
]


@pytest.mark.parametrize(("field", "value", "text"), TYPES, ids=[f"{t[0]}={t[1]}" for t in TYPES])
async def test_fields_of_another_type(api: Api, asked: Asked, field: str, value: Any, text: str) -> None:
    message = await api(version="2.37").refused(400, "POST", "/servers", {"server": {**asked, field: value}})
    assert message.startswith(f"Invalid input for field/attribute {field}. Value: {value}. {text}")


async def test_unknown_keys_are_named(api: Api, asked: Asked) -> None:
    message = await api(version="2.37").refused(400, "POST", "/servers", {"server": {**asked, "colour": "red"}})
    assert message.startswith("Invalid input for field/attribute server. Value: {")
    assert message.endswith("Additional properties are not allowed ('colour' was unexpected)")


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b'{"server": NaN}', b"[" * 5000, b'{"a": "\\ud800"}'])
async def test_what_is_no_json_is_malformed(http: httpx.AsyncClient, content: bytes) -> None:
    headers = {"X-Auth-Token": "member", "Content-Type": "application/json"}
    answer = await http.post("/v2.1/servers", content=content, headers=headers)
    assert (answer.status_code, answer.json()) == (
        400,
        {"badRequest": {"code": 400, "message": "Malformed request body"}},
    )


async def test_hints_nested_too_deeply_are_refused_at_the_door(api: Api, asked: Asked) -> None:
    """251 to 300 levels: a 500 with megabytes of log, or a 202 whose operation no process could ever write."""
    headers = {"X-Auth-Token": "member", "Content-Type": "application/json"}
    for levels in (100, 251, 300, 1100):
        body = b'{"server": %s, "os:scheduler_hints": {"any": %s}}' % (
            orjson.dumps(asked),
            b"[" * levels + b"]" * levels,
        )
        answer = await api(version="2.37").http.post("/v2.1/servers", content=body, headers=headers)
        assert answer.status_code == 400, answer.text
        assert answer.json()["badRequest"]["message"] == "Malformed request body"
