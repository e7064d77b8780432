"""Requests that no document describes: what is nested, huge, repeated, endless or half.

Each has to be answered, with no 5xx, and must not hold the event loop, fill the log or stay in memory.
"""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote, urlsplit

import requests
from attrs import define, field, frozen

from tests.fuzz.people import Person
from tests.fuzz.rooms import Laid
from tests.fuzz.targets import Target

ANSWER_SECONDS: Final = 10.0
HALF_SECONDS: Final = 60.0
"""within which half a request has to be given up: the listener's own times are 20 and 30 seconds"""
DIGITS: Final = "9" * 5000


@frozen
class Abuse:
    kind: str
    path: str
    body: bytes | None = None
    headers: dict[str, str] = field(factory=dict)


@define(eq=False)
class Abused:
    """What came of one operation."""

    target: Target
    sent: int = 0
    failed: list[str] = field(factory=list)


def abuse(target: Target, person: Person, ground: Laid, url: str) -> Abused:
    """Sends all kinds to one operation; never raises for what an answer says."""
    found = Abused(target)
    for one in abuses(target, ground):
        found.sent += 1
        headers = person.headers | ground.headers(target) | one.headers
        if one.body is not None:
            headers = {"Content-Type": "application/json"} | headers
        try:
            answer = person.http.request(
                target.method, f"{url}{one.path}", data=one.body, headers=headers, timeout=ANSWER_SECONDS
            )
        except requests.RequestException as error:
            found.failed.append(f"{one.kind}: {type(error).__name__}")
            continue
        if answer.status_code >= 500 and answer.status_code not in (501, 503):
            found.failed.append(f"{one.kind}: {answer.status_code} {answer.text[:200]}")
    return found


def abuses(target: Target, ground: Laid) -> Iterator[Abuse]:
    path = target.path
    for part in [p[1:-1] for p in path.split("/") if p.startswith("{")]:
        path = path.replace(f"{{{part}}}", quote(ground.parameter(target, part), safe=""))
    yield from _in_query(path)
    yield Abuse("a version of many digits", path, headers={"OpenStack-API-Version": f"compute 2.{DIGITS}"})
    yield Abuse("a token that is none", path, headers={"X-Auth-Token": "gAAAAA" + "A" * 8000})
    if "{" in target.path:
        head, _, tail = target.path.partition("{")
        rest = tail.partition("}")[2]
        for kind, value in (("long", "x" * 8000), ("of digits", DIGITS), ("of control letters", "%00%0a%ff%fe")):
            yield Abuse(f"a path {kind}", head + value + rest.replace("{", "").replace("}", ""))
    if target.method in ("POST", "PUT", "PATCH"):
        yield from _bodies(path, ground.example(target))


def _in_query(path: str) -> Iterator[Abuse]:
    for key in ("limit", "page", "marker", "offset", "min_ram", "minDisk", "size_min", "name", "changes-since"):
        yield Abuse(f"{key} of many digits", f"{path}?{key}={DIGITS}")
    for key in ("name", "ip", "hostname", "display_name", "tags"):
        for pattern in ("^(a|a)*$", "^(a+)+$", "(.*)*x", "[0-9a-f]{1,1000}" * 20, "(" * 500, "a{1000}{1000}"):
            yield Abuse(f"the pattern {pattern[:20]}", f"{path}?{key}={quote(pattern)}")
    yield Abuse("one key many times", f"{path}?" + "&".join(["name=a"] * 5000))
    yield Abuse("many keys", f"{path}?" + "&".join(f"k{n}=v" for n in range(5000)))
    yield Abuse("many sort keys", f"{path}?" + "&".join(["sort_key=created_at&sort_dir=asc"] * 1000))
    yield Abuse("a long key", f"{path}?{'k' * 30000}=v")


def _bodies(path: str, example: Any) -> Iterator[Abuse]:
    for levels in (65, 251, 300, 1000, 50_000):
        yield Abuse(f"{levels} levels", path, b"[" * levels + b"]" * levels)
        yield Abuse(f"{levels} levels within", path, _with(example, b"[" * levels + b"]" * levels))
        yield Abuse(f"{levels} objects within", path, _with(example, b'{"a":' * levels + b"1" + b"}" * levels))
    for number in ("1" + "0" * 30, "-1" + "0" * 30, "1e308", "1e999", "-0", "0.1e-400", DIGITS):
        yield Abuse(f"the number {number[:10]}", path, _with(example, number.encode()))
    yield Abuse("a long text", path, _with(example, json.dumps("x" * 100_000).encode()))
    yield Abuse("a text of odd letters", path, _with(example, b'"\\u0000\\u202e\\ufffe\\ud83d\\ude00"'))
    yield Abuse("half a letter", path, _with(example, b'"\\ud800"'))
    yield Abuse("a long key", path, b'{"' + b"k" * 100_000 + b'": 1}')
    yield Abuse("one key many times", path, b"{" + b",".join([b'"name": "a"'] * 5000) + b"}")
    yield Abuse("many keys", path, b"{" + b",".join(b'"k%d": 1' % n for n in range(8000)) + b"}")
    yield Abuse("many items", path, _with(example, b"[" + b",".join([b"1"] * 50_000) + b"]"))
    yield Abuse("bytes that are no text", path, b"\xff\xfe" * 1000)
    yield Abuse("nothing", path, b"")


def _with(example: Any, value: bytes) -> bytes:
    """The example, with this in the place of one of its innermost values."""
    mark = "\x00here"
    text = json.dumps(_marked(example, mark))
    return text.encode().replace(json.dumps(mark).encode(), value, 1)


def _marked(example: Any, mark: str) -> Any:
    if isinstance(example, dict) and example:
        key = max(example, key=lambda k: isinstance(example[k], dict | list))
        return {**example, key: _marked(example[key], mark)}
    if isinstance(example, list) and example:
        return [_marked(example[0], mark), *example[1:]]
    return mark


def half_requests(url: str, connections: int = 50) -> list[str]:
    """Opens connections that each say half a request, and waits until the server gives them up. What it does not is
    named; other clients have to be served meanwhile."""
    place = urlsplit(url)
    halves = (
        b"",
        b"GET /v2.1/servers HT",
        b"GET /v2.1/servers HTTP/1.1\r\nhost: x\r\n",
        b"POST /v2.1/servers HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{",
        b"POST /identity/v3/auth/tokens HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{",
        b"PUT /image/v2/images/x/file HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nxx",
    )
    held: list[tuple[bytes, socket.socket]] = []
    for number in range(connections):
        opened = socket.create_connection((str(place.hostname), place.port or 80), timeout=HALF_SECONDS)
        opened.sendall(halves[number % len(halves)])
        held.append((halves[number % len(halves)], opened))
    failed = []
    began = time.monotonic()
    if requests.get(f"{url}/readyz", timeout=ANSWER_SECONDS).status_code != 200:
        failed.append("nobody else is served meanwhile")
    for half, opened in held:
        opened.settimeout(max(0.1, HALF_SECONDS - (time.monotonic() - began)))
        try:
            while opened.recv(65536):
                pass
        except TimeoutError:
            failed.append(f"held after {HALF_SECONDS:g} s: {half[:40]!r}")
        except ConnectionError:
            pass
        opened.close()
    return failed
