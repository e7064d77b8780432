"""Every operation under every role, through the application: 403 for who has too little of a role, and for nobody else.

The handlers are replaced by one that does nothing, so that nothing but policy decides.
"""

import re
from types import SimpleNamespace
from typing import Any, cast

import httpx
import orjson
import pytest
from attrs import evolve, frozen

from control.compute.app import ComputeApp
from control.compute.call import Call
from control.compute.microversions import MAX, text
from control.compute.operation import Operation
from control.compute.operations import OPERATIONS
from control.compute.router import Router
from schemas.identity import Identity

ORDER = ("reader", "member", "manager", "admin")
"""each includes the ones before"""
PEOPLE = (*ORDER, "service", "nothing")


@frozen
class RolesAsTokens:
    async def verify(self, token: str) -> Identity:
        return Identity("u1", "u1", "p1", "p1", frozenset({token} - {"nothing"}))


async def fine(_: Call) -> None:
    return None


@pytest.fixture(scope="module")
def http() -> httpx.AsyncClient:
    top = cast(
        Any, SimpleNamespace(settings=SimpleNamespace(api=SimpleNamespace(policy_file="", url="http://api.test")))
    )
    app = ComputeApp(top, RolesAsTokens())
    app._router = Router([evolve(o, handler=fine, body=None, query=None) for o in OPERATIONS])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api")


def expected(operation: Operation, person: str) -> bool:
    if operation.rule is None or operation.role in ("any", "owner"):
        return True
    if operation.role == "service":
        return person in ("service", "admin")
    return person in ORDER and ORDER.index(person) >= ORDER.index(operation.role)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.name)
async def test_only_enough_of_a_role_passes(http: httpx.AsyncClient, operation: Operation) -> None:
    path = "/v2.1" + re.sub(r"\{[^}]*\}", "x", operation.path)
    version = text(min(operation.until or MAX, MAX))
    body = orjson.dumps({operation.action: None}) if operation.action else b""
    passed = {}
    for person in PEOPLE:
        headers = {"X-Auth-Token": person, "OpenStack-API-Version": f"compute {version}"}
        headers |= {"Content-Type": "application/json"} if body else {}
        answer = await http.request(operation.method, path, content=body, headers=headers)
        assert answer.status_code in (403, operation.code(int(version[2:]))), answer.text
        passed[person] = answer.status_code != 403
        if answer.status_code == 403:
            assert answer.json()["forbidden"]["message"].startswith("Policy doesn't allow ")
    assert passed == {person: expected(operation, person) for person in PEOPLE}
