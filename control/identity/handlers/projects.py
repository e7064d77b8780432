"""Projects, their tags, and the one domain that they are in."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from uuid import uuid4

from attrs import evolve
from starlette.responses import Response

from control.identity.accounts import PROJECTS, create, read, remove, update
from control.identity.call import Call
from control.identity.given import extra, require_domain, require_id
from control.identity.http import json_answer
from control.identity.lists import is_true
from control.identity.options import merged, require_deletable, require_mutable
from control.identity.schemas import validate
from control.identity.views import domain_project_view, domain_view, project_view
from schemas.errors import BadRequest, Forbidden, NotFound
from schemas.identity import DOMAIN, Project

FIELDS: Final = ("name", "enabled", "domain_id", "parent_id", "is_domain")
OWN: Final = (
    "id", "name", "enabled", "domain_id", "parent_id", "is_domain", "description", "tags", "options", "links",
)  # fmt: skip
DEEPEST: Final = 5
"""generations below the domain"""


async def list_projects(call: Call) -> Response:
    if is_true(call.query, "is_domain"):
        return call.listed("projects", [domain_project_view(call.desk.base)], FIELDS)
    projects = (s.value for s in call.desk.directory.projects.items.values())
    fit = sorted((p for p in projects if _tagged(p, call.query)), key=lambda p: p.name)
    return call.listed("projects", [project_view(project, call.desk.base) for project in fit], FIELDS)


async def get_project(call: Call) -> Response:
    """With its ancestors and descendants, where that is asked for."""
    if call.part("project") == DOMAIN:
        return json_answer({"project": domain_project_view(call.desk.base)})
    project = (await read(call.desk.store, PROJECTS, call.part("project"))).value
    directory, query, view = call.desk.directory, call.query, project_view(project, call.desk.base)
    if is_true(query, "parents_as_list"):
        parents = directory.parents_of(project)
        view["parents"] = [{"project": project_view(parent, call.desk.base)} for parent in parents]
    if is_true(query, "parents_as_ids"):
        view["parents"] = _nested([*(p.id for p in directory.parents_of(project)), DOMAIN])
    if is_true(query, "subtree_as_list"):
        view["subtree"] = [{"project": project_view(p, call.desk.base)} for p in _subtree(call, project.id)]
    if is_true(query, "subtree_as_ids"):
        view["subtree"] = _subtree_ids(call, project.id)
    return json_answer({"project": view})


async def create_project(call: Call) -> Response:
    given = call.given("project")
    validate("project create", given)
    require_domain(given)
    if given.get("is_domain"):
        raise _one_domain()
    parent = await _parent(call, given.get("parent_id") or DOMAIN)
    project = Project(id=uuid4().hex, name="", created=datetime.now(UTC), parent=parent)
    project = _changed(given, project)
    await call.desk.seen(await create(call.desk.store, PROJECTS, project))
    return _answer(call, project, 201)


async def update_project(call: Call) -> Response:
    stored = await read(call.desk.store, PROJECTS, call.part("project"))
    given = call.given("project")
    validate("project update", given)
    require_domain(given)
    require_id(given, call.part("project"))
    if given.get("parent_id", stored.value.parent) != stored.value.parent:
        raise Forbidden("Update of `parent_id` is not allowed.")
    if given.get("is_domain"):
        raise BadRequest("Update of `is_domain` is not allowed.")
    return _answer(call, await _update(call, given, partial(_changed, given)))


async def delete_project(call: Call) -> Response:
    gone = call.part("project")
    require_deletable("project", (await read(call.desk.store, PROJECTS, gone)).value)
    if call.desk.directory.children_of(gone):
        raise Forbidden(
            f"Cannot delete the project {gone} since it is not a leaf in the hierarchy. Use the cascade option if you "
            "want to delete a whole subtree."
        )
    revision = await remove(
        call.desk.store, PROJECTS, gone, lambda grant: grant.project == gone, lambda app: app.project == gone
    )
    await call.desk.seen(revision)
    return Response(status_code=204)


async def list_project_tags(call: Call) -> Response:
    return _tags(call, (await read(call.desk.store, PROJECTS, call.part("project"))).value)


async def update_project_tags(call: Call) -> Response:
    validate("tags", call.body)
    return _tags(call, await _update(call, call.body, partial(_with_tags, call.body["tags"])))


async def delete_project_tags(call: Call) -> Response:
    await _update(call, {"tags": []}, partial(_with_tags, []))
    return Response(status_code=204)


async def get_project_tag(call: Call) -> Response:
    _require_tag(call, (await read(call.desk.store, PROJECTS, call.part("project"))).value)
    return Response(status_code=204)


async def create_project_tag(call: Call) -> Response:
    tag = call.part("tag")
    validate("tag", tag)
    await _update(call, {"tags": [tag]}, lambda project: _with_tags([*project.tags, tag], project))
    return Response(status_code=201, headers={"Location": call.url})


async def delete_project_tag(call: Call) -> Response:
    def without(project: Project) -> Project:
        _require_tag(call, project)
        return _with_tags([tag for tag in project.tags if tag != call.part("tag")], project)

    await _update(call, {"tags": []}, without)
    return Response(status_code=204)


async def list_domains(call: Call) -> Response:
    return call.listed("domains", [domain_view(call.desk.base)], ("name", "enabled"))


async def get_domain(call: Call) -> Response:
    if call.part("domain") != DOMAIN:
        raise NotFound(f"Could not find domain: {call.part('domain')}.")
    return json_answer({"domain": domain_view(call.desk.base)})


async def change_domains(_: Call) -> Response:
    raise _one_domain()


def _one_domain() -> Forbidden:
    return Forbidden(f"This site has one domain, '{DOMAIN}': it cannot be changed or removed, nor another be made.")


async def _update(call: Call, given: dict[str, Any], change: Callable[[Project], Project]) -> Project:
    """By a change that `given` asks for."""

    def changed(project: Project) -> Project:
        require_mutable("project", project, given)
        return change(project)

    project, revision = await update(call.desk.store, PROJECTS, call.part("project"), changed)
    await call.desk.seen(revision)
    return project


def _answer(call: Call, project: Project, status: int = 200) -> Response:
    return json_answer({"project": project_view(project, call.desk.base)}, status)


def _tags(call: Call, project: Project) -> Response:
    return json_answer({"tags": list(project.tags), "links": {"next": None, "self": call.url, "previous": None}})


def _changed(given: dict[str, Any], project: Project) -> Project:
    changed = evolve(
        project,
        name=given.get("name", project.name),
        enabled=given.get("enabled", project.enabled),
        description=given.get("description", project.description) or "",
        extra={**project.extra, **extra(given, OWN)},
        options=merged(project.options, given),
        disabled_at=project.disabled_at if given.get("enabled", True) or not project.enabled else datetime.now(UTC),
    )
    return _with_tags(given.get("tags", project.tags), changed)


def _with_tags(tags: Any, project: Project) -> Project:
    return evolve(project, tags=tuple(sorted(set(tags))))


def _require_tag(call: Call, project: Project) -> None:
    if call.part("tag") not in project.tags:
        raise NotFound(f"Could not find project tag: {call.part('tag')}.")


async def _parent(call: Call, parent: str) -> str:
    if parent == DOMAIN:
        return parent
    stored = await call.desk.store.get(PROJECTS.records(parent))
    if stored is None:
        raise NotFound(f"Could not find project: {parent}.")
    if not stored.value.enabled:
        raise Forbidden(f"Cannot create project since one of its parents is disabled: {parent}.")
    if len(call.desk.directory.parents_of(stored.value)) + 2 > DEEPEST:
        raise Forbidden(f"Max hierarchy depth reached for {parent} branch.")
    return parent


TAG_FILTERS: Final[dict[str, Callable[[set[str], set[str]], bool]]] = {
    "tags": lambda has, asked: asked <= has,
    "tags-any": lambda has, asked: bool(asked & has),
    "not-tags": lambda has, asked: not asked <= has,
    "not-tags-any": lambda has, asked: not asked & has,
}


def _tagged(project: Project, query: dict[str, str]) -> bool:
    has = set(project.tags)
    return all(fits(has, set(query[name].split(","))) for name, fits in TAG_FILTERS.items() if name in query)


def _nested(ids: list[str]) -> dict[str, Any] | None:
    """The first one outermost."""
    found: dict[str, Any] | None = None
    for id_ in reversed(ids):
        found = {id_: found}
    return found


def _subtree(call: Call, project: str) -> list[Project]:
    children = call.desk.directory.children_of(project)
    return [found for child in children for found in (child, *_subtree(call, child.id))]


def _subtree_ids(call: Call, project: str) -> dict[str, Any] | None:
    children = call.desk.directory.children_of(project)
    return {child.id: _subtree_ids(call, child.id) for child in children} or None
