"""Users."""

from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

from attrs import evolve
from starlette.responses import Response

from control.identity import body
from control.identity.accounts import USERS, create, read, remove, update, with_password
from control.identity.call import Call, matching
from control.identity.claims import REFUSED
from control.identity.http import json_answer, read_object
from control.identity.views import collection, project_view, user_view
from schemas.errors import BadRequest, Unauthorized
from schemas.identity import User


async def list_users(call: Call) -> Response:
    users = sorted((s.value for s in call.desk.directory.users.items.values()), key=lambda user: user.name)
    views = [user_view(user, call.desk.base) for user in users]
    found = matching(views, call.query, ("name", "enabled", "domain_id"))
    return json_answer(collection("users", found, call.url))


async def get_user(call: Call) -> Response:
    call.require_admin_or(call.part("user"))
    stored = await read(call.desk.store, USERS, call.part("user"))
    return _answer(call, stored.value)


async def create_user(call: Call) -> Response:
    given = await read_object(call.request, "user")
    body.in_default_domain(given)
    password = _password(given)
    user = User(
        id=uuid4().hex,
        name=body.name(given),
        password_hash=await call.desk.passwords.hash(password) if password else "",
        created=datetime.now(UTC),
        enabled=body.flag(given, "enabled", True),
        default_project=body.optional_text(given, "default_project_id", None),
        email=body.optional_text(given, "email", None),
        description=body.text(given, "description"),
    )
    await call.desk.seen(await create(call.desk.store, USERS, user))
    return _answer(call, user, 201)


async def update_user(call: Call) -> Response:
    given = await read_object(call.request, "user")
    password = _password(given)
    hashed = await call.desk.passwords.hash(password) if password else None
    user, revision = await update(call.desk.store, USERS, call.part("user"), partial(_changed, given, hashed))
    await call.desk.seen(revision)
    return _answer(call, user)


async def delete_user(call: Call) -> Response:
    gone = call.part("user")
    await call.desk.seen(await remove(call.desk.store, USERS, gone, lambda grant: grant.user == gone))
    return Response(status_code=204)


async def change_password(call: Call) -> Response:
    """One's own, with the old one."""
    call.require_admin_or(call.part("user"))
    given = await read_object(call.request, "user")
    old, new = body.text(given, "original_password"), _password(given)
    if not new:
        raise BadRequest("Invalid input for field 'password': the new password must not be empty")
    stored = await read(call.desk.store, USERS, call.part("user"))
    if not await call.desk.passwords.matches(stored.value.password_hash, old):
        raise Unauthorized(REFUSED)
    hashed = await call.desk.passwords.hash(new)
    changed = partial(with_password, password_hash=hashed)
    _, revision = await update(call.desk.store, USERS, stored.value.id, changed)
    await call.desk.seen(revision)
    return Response(status_code=204)


async def list_user_projects(call: Call) -> Response:
    call.require_admin_or(call.part("user"))
    views = [project_view(p, call.desk.base) for p in call.desk.directory.projects_of(call.part("user"))]
    found = matching(views, call.query, ("name", "enabled", "domain_id"))
    return json_answer(collection("projects", found, call.url))


async def list_user_groups(call: Call) -> Response:
    """There are none."""
    call.require_admin_or(call.part("user"))
    return json_answer(collection("groups", [], call.url))


def _answer(call: Call, user: User, status: int = 200) -> Response:
    return json_answer({"user": user_view(user, call.desk.base)}, status)


def _password(given: dict[str, Any]) -> str:
    return body.text(given, "password")


def _changed(given: dict[str, Any], hashed: str | None, user: User) -> User:
    body.in_default_domain(given)
    changed = evolve(
        user,
        name=body.name(given, user.name),
        enabled=body.flag(given, "enabled", user.enabled),
        default_project=body.optional_text(given, "default_project_id", user.default_project),
        email=body.optional_text(given, "email", user.email),
        description=body.text(given, "description", user.description),
    )
    return with_password(changed, hashed) if hashed else changed
