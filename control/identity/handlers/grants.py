"""Who may be what where: roles of users on projects and on the domain."""

from typing import Any

from starlette.responses import Response

from control.identity.accounts import PROJECTS, ROLES, USERS, grant, no_grant, read, revoke
from control.identity.call import Call
from control.identity.http import json_answer
from control.identity.views import collection, grant_view, role_view
from kv.keys import Global
from schemas.errors import NotFound
from schemas.identity import DOMAIN, Assignment

NO_SUCH_SCOPES = ("group.id", "scope.system", "scope.OS-INHERIT:inherited_to")


async def create_grant(call: Call) -> Response:
    user, scope, role = await _named(call)
    await call.desk.seen(await grant(call.desk.store, user, scope, frozenset({role})))
    return Response(status_code=204)


async def check_grant(call: Call) -> Response:
    user, scope, role = await _named(call)
    stored = await call.desk.store.get(Global.ASSIGNMENTS(user, scope))
    if stored is None or role not in stored.value.roles:
        raise no_grant(user, scope, role)
    return Response(status_code=204)


async def revoke_grant(call: Call) -> Response:
    scope = await _scope(call)
    await call.desk.seen(await revoke(call.desk.store, call.part("user"), scope, call.part("role")))
    return Response(status_code=204)


async def list_grants(call: Call) -> Response:
    scope = await _scope(call)
    user = await read(call.desk.store, USERS, call.part("user"))
    roles = await call.desk.directory.roles_on(user.value.id, scope)
    return json_answer(collection("roles", [role_view(role, call.desk.base) for role in roles], call.url))


async def list_role_assignments(call: Call) -> Response:
    """Of all for admins, of oneself for everyone."""
    query = call.query
    call.require_admin_or(query.get("user.id", ""))
    names = query.get("include_names", "false").lower() not in ("false", "0")
    views: list[dict[str, Any]] = []
    for assignment in sorted(call.desk.directory.all_assignments(), key=lambda a: (a.user, a.project)):
        if _asked(assignment, query):
            views.extend(_views(call, assignment, query.get("role.id"), names=names))
    return json_answer(collection("role_assignments", views, call.url))


def _asked(assignment: Assignment, query: dict[str, str]) -> bool:
    if any(query.get(scope) for scope in NO_SUCH_SCOPES):
        return False
    scopes = {query[name] for name in ("scope.project.id", "scope.domain.id") if name in query}
    return query.get("user.id", assignment.user) == assignment.user and scopes <= {assignment.project}


def _views(call: Call, assignment: Assignment, wanted: str | None, *, names: bool) -> list[dict[str, Any]]:
    """Leaves out what was deleted since."""
    directory = call.desk.directory
    user = directory.users.get(Global.USERS(assignment.user))
    project = directory.projects.get(Global.IDENTITY_PROJECTS(assignment.project))
    if user is None or (project is None and assignment.project != DOMAIN):
        return []
    known = (directory.roles.get(Global.ROLES(role)) for role in sorted(assignment.roles) if wanted in (None, role))
    return [grant_view(user, project, role, call.desk.base, names=names) for role in known if role]


async def _named(call: Call) -> tuple[str, str, str]:
    """User, scope and role of the path, all of which exist."""
    scope = await _scope(call)
    user = await read(call.desk.store, USERS, call.part("user"))
    role = await read(call.desk.store, ROLES, call.part("role"))
    return user.value.id, scope, role.value.id


async def _scope(call: Call) -> str:
    if "project" in call.request.path_params:
        return (await read(call.desk.store, PROJECTS, call.part("project"))).value.id
    if call.part("domain") != DOMAIN:
        raise NotFound(f"Could not find domain: {call.part('domain')}.")
    return DOMAIN
