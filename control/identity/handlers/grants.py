"""Who may be what where: roles of users on projects, on the domain and on the system."""

from collections.abc import Iterator
from typing import Any, Final

from starlette.responses import Response

from control.identity.accounts import PROJECTS, ROLES, USERS, grant, no_grant, read, revoke
from control.identity.call import Call
from control.identity.handlers.roles import known_roles
from control.identity.http import json_answer
from control.identity.lists import is_true
from control.identity.views import grant_view, role_view
from kv.keys import Global
from schemas.errors import BadRequest, NotFound
from schemas.identity import DOMAIN, SYSTEM, Assignment, Project, Role

NOBODYS: Final = ("group.id", "scope.OS-INHERIT:inherited_to")
"""what no assignment has here"""


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
    user, scope, role = await _named(call)
    await call.desk.seen(await revoke(call.desk.store, user, scope, role))
    return Response(status_code=204)


async def list_grants(call: Call) -> Response:
    scope = await _scope(call)
    user = await read(call.desk.store, USERS, call.part("user"))
    roles = await call.desk.directory.roles_on(user.value.id, scope)
    return call.listed("roles", [role_view(role, call.desk.base) for role in roles])


async def list_role_assignments(call: Call) -> Response:
    query = call.query
    if "user.id" in query and "group.id" in query:
        raise BadRequest("Specify a user or group, not both")
    if sum(name in query for name in ("scope.project.id", "scope.domain.id", "scope.system")) > 1:
        raise BadRequest("Specify a domain, a project or the system, not more than one of them")
    assignments = sorted(call.desk.directory.all_assignments(), key=lambda a: (a.user, a.project))
    views = [view for assignment in assignments if _asked(call, assignment) for view in _views(call, assignment)]
    links = {"next": None, "self": call.url, "previous": None}
    return json_answer({"role_assignments": views, "links": links})


def _asked(call: Call, assignment: Assignment) -> bool:
    query = call.query
    if any(query.get(name) for name in NOBODYS) or query.get("user.id", assignment.user) != assignment.user:
        return False
    if "scope.system" in query:
        return assignment.project == SYSTEM
    if "scope.domain.id" in query:
        return assignment.project == DOMAIN == query["scope.domain.id"]
    if "scope.project.id" not in query:
        return True
    places = {query["scope.project.id"]} - {DOMAIN, SYSTEM}
    if is_true(query, "include_subtree"):
        directory, found = call.desk.directory, list(places)
        while found:
            below = [child.id for child in directory.children_of(found.pop())]
            places.update(below)
            found += below
    return assignment.project in places


def _views(call: Call, assignment: Assignment) -> Iterator[dict[str, Any]]:
    """Leaves out what was deleted since."""
    directory, query = call.desk.directory, call.query
    user = directory.users.get(Global.USERS(assignment.user))
    scope: Project | str | None = assignment.project
    if scope not in (DOMAIN, SYSTEM):
        scope = directory.projects.get(Global.IDENTITY_PROJECTS(assignment.project))
    if user is None or scope is None:
        return
    for role, prior in _effective(call, assignment) if is_true(query, "effective") else _direct(call, assignment):
        if query.get("role.id", role.id) == role.id:
            yield grant_view(user, scope, role, prior, call.desk.base, names=is_true(query, "include_names"))


def _direct(call: Call, assignment: Assignment) -> list[tuple[Role, Role]]:
    return [(role, role) for role in known_roles(call, assignment.roles)]


def _effective(call: Call, assignment: Assignment) -> list[tuple[Role, Role]]:
    """With what they imply, each role once, and the granted role that it comes from."""
    granted = known_roles(call, assignment.roles)
    found = {role.id: (role, role) for role in granted}
    for prior in granted:
        for role in call.desk.directory.implied_by(prior):
            found.setdefault(role.id, (role, prior))
    return sorted(found.values(), key=lambda pair: pair[0].name)


async def _named(call: Call) -> tuple[str, str, str]:
    """User, scope and role of the path, all of which exist."""
    role = await read(call.desk.store, ROLES, call.part("role"))
    user = await read(call.desk.store, USERS, call.part("user"))
    return user.value.id, await _scope(call), role.value.id


async def _scope(call: Call) -> str:
    if "project" in call.request.path_params:
        return (await read(call.desk.store, PROJECTS, call.part("project"))).value.id
    if "domain" not in call.request.path_params:
        return SYSTEM
    if call.part("domain") != DOMAIN:
        raise NotFound(f"Could not find domain: {call.part('domain')}.")
    return DOMAIN
