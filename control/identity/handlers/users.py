"""Users."""

from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from uuid import uuid4

from attrs import evolve
from starlette.requests import Request
from starlette.responses import Response

from control.identity.accounts import USERS, create, read, remove, update, with_password
from control.identity.call import Call, Desk, read_object
from control.identity.claims import REFUSED
from control.identity.given import extra, require_domain, require_id
from control.identity.http import json_answer
from control.identity.options import LOCK_PASSWORD, merged
from control.identity.passwords import LONGEST_PASSWORD
from control.identity.schemas import validate
from control.identity.views import project_view, user_view
from schemas.errors import BadRequest, Unauthorized
from schemas.identity import User

FIELDS: Final = ("name", "enabled", "domain_id", "password_expires_at", "unique_id")
OWN: Final = ("id", "name", "password", "enabled", "domain_id", "default_project_id", "options", "links")
"""what has a place of its own; everything else a client says of a user is kept beside it"""


async def list_users(call: Call) -> Response:
    users = sorted((s.value for s in call.desk.directory.users.items.values()), key=lambda user: user.name)
    return call.listed("users", [user_view(user, call.desk.base) for user in users], FIELDS)


async def get_user(call: Call) -> Response:
    stored = await read(call.desk.store, USERS, call.part("user"))
    return _answer(call, stored.value)


async def create_user(call: Call) -> Response:
    given = call.given("user")
    validate("user create", given)
    require_domain(given)
    password = _password(given)
    user = User(
        id=uuid4().hex,
        name=given["name"],
        password_hash=await call.desk.guard.passwords.hash(password, call.standing.user.id) if password else "",
        created=datetime.now(UTC),
        enabled=given.get("enabled", True),
        default_project=given.get("default_project_id"),
        extra=extra(given, OWN),
        options=merged({}, given),
    )
    await call.desk.seen(await create(call.desk.store, USERS, user))
    return _answer(call, user, 201)


async def update_user(call: Call) -> Response:
    await read(call.desk.store, USERS, call.part("user"))
    given = call.given("user")
    validate("user update", given)
    require_domain(given)
    require_id(given, call.part("user"))
    password = _password(given)
    hashed = await call.desk.guard.passwords.hash(password, call.standing.user.id) if password else None
    user, revision = await update(call.desk.store, USERS, call.part("user"), partial(_changed, given, hashed))
    if hashed or given.get("enabled"):
        await call.desk.guard.lockouts.reopen(user.id)
    await call.desk.seen(revision)
    return _answer(call, user)


async def delete_user(call: Call) -> Response:
    gone = call.part("user")
    revision = await remove(
        call.desk.store, USERS, gone, lambda grant: grant.user == gone, lambda app: app.user == gone
    )
    await call.desk.guard.lockouts.forget(gone)
    await call.desk.seen(revision)
    return Response(status_code=204)


async def change_password(desk: Desk, request: Request) -> Response:
    """One's own, with the old one; needs no token."""
    given = (await read_object(request)).get("user", {})
    validate("password change", given)
    stored = await desk.store.get(USERS.records(request.path_params["user"]))
    hashed = stored.value.password_hash if stored and stored.value.enabled else None
    user, source = stored.value if stored else None, desk.guard.source(request)
    account = request.path_params["user"]
    if not await desk.guard.admits(source, account, user, hashed, given["original_password"]) or stored is None:
        raise Unauthorized(REFUSED)
    password = _password(given)
    if not password:
        raise BadRequest("Password validation error: it is empty.")
    if stored.value.options.get(LOCK_PASSWORD):
        raise BadRequest(
            "You cannot change your password at this time due to password policy disallowing password changes. Please "
            "contact your administrator to reset your password."
        )
    changed = partial(with_password, password_hash=await desk.guard.passwords.hash(password, source))
    _, revision = await update(desk.store, USERS, stored.value.id, changed)
    await desk.seen(revision)
    return Response(status_code=204)


async def list_user_projects(call: Call) -> Response:
    await read(call.desk.store, USERS, call.part("user"))
    views = [project_view(p, call.desk.base) for p in call.desk.directory.projects_of(call.part("user"))]
    return call.listed("projects", views, ("name", "enabled", "domain_id"))


def _answer(call: Call, user: User, status: int = 200) -> Response:
    return json_answer({"user": user_view(user, call.desk.base)}, status)


def _password(given: dict[str, Any]) -> str:
    """Empty: none."""
    password: str = given.get("password") or ""
    if len(password) > LONGEST_PASSWORD:
        raise BadRequest(f"Password validation error: it is longer than {LONGEST_PASSWORD} characters.")
    return password


def _changed(given: dict[str, Any], hashed: str | None, user: User) -> User:
    changed = evolve(
        user,
        name=given.get("name", user.name),
        enabled=given.get("enabled", user.enabled),
        default_project=given.get("default_project_id", user.default_project),
        extra={**user.extra, **extra(given, OWN)},
        options=merged(user.options, given),
    )
    if user.enabled and not changed.enabled:
        changed = evolve(changed, epoch=user.epoch + 1)  # its tokens end for good
    return with_password(changed, hashed) if hashed else changed
