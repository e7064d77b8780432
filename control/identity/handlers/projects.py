"""Projects, and the one domain that they are in."""

from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

from attrs import evolve
from starlette.responses import Response

from control.identity import body
from control.identity.accounts import PROJECTS, create, read, remove, update
from control.identity.call import Call, matching
from control.identity.http import json_answer, read_object
from control.identity.views import collection, domain_view, project_view
from schemas.errors import BadRequest, NotFound
from schemas.identity import DOMAIN, Project


async def list_projects(call: Call) -> Response:
    projects = sorted((s.value for s in call.desk.directory.projects.items.values()), key=lambda p: p.name)
    views = [project_view(project, call.desk.base) for project in projects]
    found = matching(views, call.query, ("name", "enabled", "domain_id", "parent_id", "is_domain"))
    return json_answer(collection("projects", found, call.url))


async def get_project(call: Call) -> Response:
    """For admins, and for all who have a role in it."""
    project = call.part("project")
    if not call.is_admin and not await call.desk.directory.roles_on(call.standing.user.id, project):
        raise call.forbidden()
    stored = await read(call.desk.store, PROJECTS, project)
    return _answer(call, stored.value)


async def create_project(call: Call) -> Response:
    given = await read_object(call.request, "project")
    if given.get("is_domain"):
        raise BadRequest(f"This site has one domain, '{DOMAIN}'; a project cannot become another.")
    if given.get("parent_id") not in (None, DOMAIN):
        raise BadRequest("Projects have no other parent than their domain here.")
    fresh = Project(id=uuid4().hex, name=body.name(given), created=datetime.now(UTC))
    project = _changed(given, fresh)
    await call.desk.seen(await create(call.desk.store, PROJECTS, project))
    return _answer(call, project, 201)


async def update_project(call: Call) -> Response:
    given = await read_object(call.request, "project")
    project, revision = await update(call.desk.store, PROJECTS, call.part("project"), partial(_changed, given))
    await call.desk.seen(revision)
    return _answer(call, project)


async def delete_project(call: Call) -> Response:
    gone = call.part("project")
    await call.desk.seen(await remove(call.desk.store, PROJECTS, gone, lambda grant: grant.project == gone))
    return Response(status_code=204)


async def list_domains(call: Call) -> Response:
    found = matching([domain_view(call.desk.base)], call.query, ("name", "enabled"))
    return json_answer(collection("domains", found, call.url))


async def get_domain(call: Call) -> Response:
    if call.part("domain") != DOMAIN:
        raise NotFound(f"Could not find domain: {call.part('domain')}.")
    return json_answer({"domain": domain_view(call.desk.base)})


def _answer(call: Call, project: Project, status: int = 200) -> Response:
    return json_answer({"project": project_view(project, call.desk.base)}, status)


def _changed(given: dict[str, Any], project: Project) -> Project:
    body.in_default_domain(given)
    tags = given.get("tags", list(project.tags))
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise BadRequest("Invalid input for field 'tags': it must be a list of strings")
    return evolve(
        project,
        name=body.name(given, project.name),
        enabled=body.flag(given, "enabled", project.enabled),
        description=body.text(given, "description", project.description),
        tags=tuple(tags),
    )
