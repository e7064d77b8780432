"""Roles."""

from functools import partial
from typing import Any
from uuid import uuid4

from attrs import evolve
from starlette.responses import Response

from control.identity import body
from control.identity.accounts import ROLES, create, read, remove, update
from control.identity.call import Call, matching
from control.identity.http import json_answer, read_object
from control.identity.views import collection, role_view
from schemas.identity import Role


async def list_roles(call: Call) -> Response:
    roles = sorted((s.value for s in call.desk.directory.roles.items.values()), key=lambda role: role.name)
    found = matching([role_view(role, call.desk.base) for role in roles], call.query, ("name", "domain_id"))
    return json_answer(collection("roles", found, call.url))


async def get_role(call: Call) -> Response:
    stored = await read(call.desk.store, ROLES, call.part("role"))
    return _answer(call, stored.value)


async def create_role(call: Call) -> Response:
    given = await read_object(call.request, "role")
    body.in_default_domain(given)
    role = Role(uuid4().hex, body.name(given), body.text(given, "description"))
    await call.desk.seen(await create(call.desk.store, ROLES, role))
    return _answer(call, role, 201)


async def update_role(call: Call) -> Response:
    given = await read_object(call.request, "role")
    role, revision = await update(call.desk.store, ROLES, call.part("role"), partial(_changed, given))
    await call.desk.seen(revision)
    return _answer(call, role)


async def delete_role(call: Call) -> Response:
    """Grants that name it beside others keep the id, which means nothing from now on."""
    gone = call.part("role")
    await call.desk.seen(await remove(call.desk.store, ROLES, gone, lambda grant: grant.roles == {gone}))
    return Response(status_code=204)


def _answer(call: Call, role: Role, status: int = 200) -> Response:
    return json_answer({"role": role_view(role, call.desk.base)}, status)


def _changed(given: dict[str, Any], role: Role) -> Role:
    return evolve(role, name=body.name(given, role.name), description=body.text(given, "description", role.description))
