"""Whatever fits an operation's schema, or nearly does, is answered: never 5xx, with what OpenAPI says."""

import json
import re
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any
from urllib.parse import urlencode

import pytest
from compute_client import Client
from json_examples import example

from control.compute.microversions import MAX
from control.compute.operation import Operation
from control.compute.operations import OPERATIONS
from schemas.server import Instance

Api = Callable[..., Client]

TRIES = 12
PEOPLE = ("admin", "admin", "member", "reader")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.name)
async def test_no_answer_is_a_server_error(
    api: Api, place: Callable[..., Awaitable[Instance]], flavor: str, image: str, operation: Operation
) -> None:
    random = Random(operation.name)
    server = await place()
    known = {"server": server.uuid, "flavor": flavor, "project": "project-demo", "name": "default"}

    def path_of() -> str:
        def chosen(match: re.Match[str]) -> str:
            return random.choice([known.get(match[1], "1"), known.get(match[1], "x"), "1", "x%2Fy", "%C3%A4"])

        return re.sub(r"\{([^}]*)\}", chosen, operation.path)

    for _ in range(TRIES):
        version = random.randint(operation.since, operation.until or MAX)
        client = api(random.choice(PEOPLE), f"2.{version}")
        body: Any = None
        if operation.body:
            body = example(operation.body.schema(version), random)
            text = json.dumps(body).replace('"web"', f'"{random.choice(["web", image])}"')
            body = json.loads(text)
        elif operation.action:
            body = {operation.action: None}
        query = ""
        if operation.query and random.random() < 0.7:
            asked = example({**operation.query.schema(version), "type": "object"}, random, 0.0)
            query = "?" + urlencode([(k, v) for k, vs in asked.items() for v in vs if isinstance(v, str | int)])
        answer = await client.send(operation.method, path_of() + query, body)
        assert answer.status_code < 500 or answer.status_code == 501, (version, query, body, answer.text)
        if answer.status_code >= 400:
            ((name, fault),) = answer.json().items()
            assert set(fault) == {"code", "message"}, name
        elif answer.content and operation.reply:
            assert set(answer.json()) <= set(operation.reply)
