"""Roles, and which of them bring others with them."""

from functools import partial
from typing import Any, Final
from uuid import uuid4

from attrs import evolve
from starlette.responses import Response

from control.identity.accounts import ROLES, create, read, remove, update
from control.identity.call import Call
from control.identity.given import extra, require_id
from control.identity.http import json_answer
from control.identity.options import merged, require_deletable, require_mutable
from control.identity.schemas import validate
from control.identity.views import inference_view, role_view
from kv.keys import Global
from schemas.errors import Forbidden, NotFound
from schemas.identity import Role

OWN: Final = ("id", "name", "description", "domain_id", "options", "links")


async def list_roles(call: Call) -> Response:
    roles = sorted((s.value for s in call.desk.directory.roles.items.values()), key=lambda role: role.name)
    return call.listed("roles", [role_view(role, call.desk.base) for role in roles], ("name", "domain_id"))


async def get_role(call: Call) -> Response:
    stored = await read(call.desk.store, ROLES, call.part("role"))
    return _answer(call, stored.value)


async def create_role(call: Call) -> Response:
    given = call.given("role")
    validate("role create", given)
    _require_global(given)
    role = _changed(given, Role(uuid4().hex, ""))
    await call.desk.seen(await create(call.desk.store, ROLES, role))
    return _answer(call, role, 201)


async def update_role(call: Call) -> Response:
    await read(call.desk.store, ROLES, call.part("role"))
    given = call.given("role")
    validate("role update", given)
    _require_global(given)
    require_id(given, call.part("role"))
    role, revision = await update(call.desk.store, ROLES, call.part("role"), partial(_updated, given))
    await call.desk.seen(revision)
    return _answer(call, role)


async def delete_role(call: Call) -> Response:
    """Grants that name it beside others keep the id, which means nothing from now on."""
    gone = call.part("role")
    require_deletable("role", (await read(call.desk.store, ROLES, gone)).value)
    revision = await remove(
        call.desk.store, ROLES, gone, lambda grant: grant.roles == {gone}, lambda app: app.roles == {gone}
    )
    await call.desk.seen(revision)
    return Response(status_code=204)


async def list_role_inference_rules(call: Call) -> Response:
    directory = call.desk.directory
    priors = sorted((s.value for s in directory.roles.items.values()), key=lambda role: role.name)
    rules = [(prior, list(directory.implied_by(prior))) for prior in priors]
    views = [inference_view(prior, implied, call.desk.base) for prior, implied in rules if implied]
    return json_answer({"role_inferences": views, "links": {"self": call.url}})


async def list_implied_roles(call: Call) -> Response:
    prior = (await read(call.desk.store, ROLES, call.part("role"))).value
    implied = list(call.desk.directory.implied_by(prior))
    view = inference_view(prior, implied, call.desk.base)
    return json_answer({"role_inference": view, "links": {"self": call.url}})


async def get_implied_role(call: Call) -> Response:
    view = await _inference(call)
    if view is None:
        raise NotFound(f"{call.part('role')} does not imply {call.part('implied')}.")
    return json_answer(view)


async def check_implied_role(call: Call) -> Response:
    await get_implied_role(call)
    return Response(status_code=204)


async def create_implied_role(call: Call) -> Response:
    """Fine where it is so already."""
    view = await _inference(call)
    if view is None:
        raise _fixed()
    return json_answer(view, 201)


async def delete_implied_role(call: Call) -> Response:
    if await _inference(call) is None:
        raise NotFound(f"{call.part('role')} does not imply {call.part('implied')}.")
    raise _fixed()


def _fixed() -> Forbidden:
    return Forbidden("What the roles admin, manager and member imply is fixed here, and no other role implies any.")


async def _inference(call: Call) -> dict[str, Any] | None:
    """None when the one does not bring the other."""
    prior = (await read(call.desk.store, ROLES, call.part("role"))).value
    implied = (await read(call.desk.store, ROLES, call.part("implied"))).value
    if implied not in call.desk.directory.implied_by(prior):
        return None
    view = inference_view(prior, [implied], call.desk.base)
    return {"role_inference": {**view, "implies": view["implies"][0]}, "links": {"self": call.url}}


def _require_global(given: dict[str, Any]) -> None:
    if given.get("domain_id") is not None:
        raise Forbidden("Roles belong to no domain here: leave domain_id out.")


def _answer(call: Call, role: Role, status: int = 200) -> Response:
    return json_answer({"role": role_view(role, call.desk.base)}, status)


def _updated(given: dict[str, Any], role: Role) -> Role:
    require_mutable("role", role, given)
    return _changed(given, role)


def _changed(given: dict[str, Any], role: Role) -> Role:
    return evolve(
        role,
        name=given.get("name", role.name),
        description=given.get("description", role.description) or "",
        extra={**role.extra, **extra(given, OWN)},
        options=merged(role.options, given),
    )


def known_roles(call: Call, ids: frozenset[str]) -> list[Role]:
    """By name, of those that still exist."""
    found = (call.desk.directory.roles.get(Global.ROLES(id_)) for id_ in ids)
    return sorted((role for role in found if role), key=lambda role: role.name)
