"""Application credentials of a user."""

import secrets
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from starlette.responses import Response

from control.identity import app_credentials
from control.identity.accounts import no_grant
from control.identity.call import Call
from control.identity.http import json_answer
from control.identity.passwords import LONGEST_PASSWORD
from control.identity.schemas import validate
from control.identity.views import app_credential_view
from kv.keys import Global
from schemas.errors import BadRequest, Forbidden, NotFound
from schemas.identity import AppCredential, Role

SECRET_BYTES = 64


async def list_application_credentials(call: Call) -> Response:
    apps = call.desk.directory.app_credentials_of(call.part("user"))
    return call.listed("application_credentials", [_view(call, app) for app in apps], ("name",))


async def get_application_credential(call: Call) -> Response:
    return json_answer({"application_credential": _view(call, await _read(call))})


async def create_application_credential(call: Call) -> Response:
    """The only answer that shows the secret."""
    given = call.given("application_credential")
    validate("application credential create", given)
    _require_unrestricted(call)
    if given.get("access_rules"):
        raise BadRequest("Invalid application credential: this site has no access rules; leave access_rules out.")
    if call.standing.project is None:
        raise Forbidden("You are not authorized to perform the requested action: it takes a token for a project.")
    if len(given.get("secret") or "") > LONGEST_PASSWORD:
        raise BadRequest(f"Invalid application credential: the secret is longer than {LONGEST_PASSWORD} characters.")
    secret = given.get("secret") or secrets.token_urlsafe(SECRET_BYTES)
    roles = _roles(call, given.get("roles") or [])
    app = AppCredential(
        id=uuid4().hex,
        name=given["name"],
        user=call.standing.user.id,
        project=call.standing.project.id,
        secret_hash=await call.desk.guard.passwords.hash(secret, call.standing.user.id),
        roles=frozenset(role.id for role in roles),
        description=given.get("description"),
        expires=_expiry(given.get("expires_at")),
        unrestricted=given.get("unrestricted", False),
    )
    await call.desk.seen(await app_credentials.create(call.desk.store, app, call.desk.app_credentials_per_user))
    return json_answer({"application_credential": _view(call, app) | {"secret": secret}}, 201)


async def delete_application_credential(call: Call) -> Response:
    _require_unrestricted(call)
    app = await _read(call)
    await call.desk.seen(await app_credentials.remove(call.desk.store, app.id))
    return Response(status_code=204)


async def list_access_rules(call: Call) -> Response:
    """There are none."""
    return call.listed("access_rules", [])


async def get_access_rule(call: Call) -> Response:
    raise NotFound(f"Could not find Access Rule: {call.part('rule')}.")


async def _read(call: Call) -> AppCredential:
    stored = await call.desk.store.get(Global.APP_CREDENTIALS(call.part("app")))
    if stored is None:
        raise app_credentials.unknown(call.part("app"))
    return stored.value


def _view(call: Call, app: AppCredential) -> dict[str, Any]:
    found = (call.desk.directory.roles.get(Global.ROLES(id_)) for id_ in app.roles)
    return app_credential_view(app, sorted((r for r in found if r), key=lambda role: role.name), call.desk.base)


def _require_unrestricted(call: Call) -> None:
    app = call.standing.app
    if app is not None and not app.unrestricted:
        raise call.forbidden(
            "Using method 'application_credential' is not allowed for managing additional application credentials."
        )


def _roles(call: Call, asked: list[dict[str, str]]) -> tuple[Role, ...]:
    """Those of the token, or a part of them. Raises BadRequest."""
    own = call.standing.roles
    if not asked:
        return own
    found: list[Role] = []
    for ref in asked:
        known = [s.value for s in call.desk.directory.roles.items.values() if ref in (_id(s.value), _name(s.value))]
        if not known:
            raise NotFound(f"Could not find role: {ref.get('id') or ref.get('name')}.")
        if known[0] not in own:
            project = call.standing.project.id if call.standing.project else ""
            missing = no_grant(call.standing.user.id, project, known[0].id)
            raise BadRequest(f"Invalid application credential: {missing.message}")
        found.append(known[0])
    return tuple(found)


def _id(role: Role) -> dict[str, str]:
    return {"id": role.id}


def _name(role: Role) -> dict[str, str]:
    return {"name": role.name}


def _expiry(text: str | None) -> datetime | None:
    """Raises BadRequest for what is no moment, or in the past."""
    if not text:
        return None
    trouble = "The server could not comply with the request since it is either malformed or otherwise incorrect. "
    trouble += "The client is assumed to be in error."
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadRequest(f"Timestamp not in expected format. {trouble}") from error
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if moment <= datetime.now(UTC):
        raise BadRequest(f"The 'expires_at' must not be before now. {trouble}")
    return moment
