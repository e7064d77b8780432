"""Tokens over HTTP, and what their owner may do with them."""

from starlette.requests import Request
from starlette.responses import Response

from control.identity.call import SUBJECT, Call, Desk, read_object
from control.identity.catalog import catalog
from control.identity.claims import REFUSED, Claims
from control.identity.http import json_answer
from control.identity.login import METHODS, AppLogin, Login, Scope, parse_login
from control.identity.options import methods_suffice
from control.identity.tokens import Standing
from control.identity.views import domain_view, project_view, token_view
from schemas.errors import Forbidden, Unauthorized
from schemas.identity import DOMAIN, SYSTEM, AppCredential, User

VARY = {"Vary": "X-Auth-Token"}


async def log_in(desk: Desk, request: Request) -> Response:
    """Needs no token."""
    login = parse_login(await read_object(request))
    user, parent, app = await _prove(desk, login, desk.guard.source(request))
    scope = app.project if app else await _enter(desk, login.scope, user)
    methods = tuple(dict.fromkeys((*login.methods, *(parent.methods if parent else ()))))
    if not methods_suffice(user.options, methods, METHODS):
        raise Unauthorized(REFUSED)
    token, standing = await desk.tokens.issue(user, scope, methods, parent=parent, app=app)
    return _answer(desk, request, token, standing, 201)


async def validate_token(call: Call) -> Response:
    token, standing = await _subject(call)
    return _answer(call.desk, call.request, token, standing, 200)


async def check_token(call: Call) -> Response:
    token, _ = await _subject(call)
    return Response(status_code=200, headers={SUBJECT: token, **VARY})


async def revoke_token(call: Call) -> Response:
    _, standing = await _subject(call)
    await call.desk.tokens.revoke(standing)
    return Response(status_code=204)


async def get_auth_catalog(call: Call) -> Response:
    if call.standing.project is None:
        raise Forbidden("You are not authorized to perform the requested action.")
    services = catalog(call.desk.api_url, call.desk.region)
    return json_answer({"catalog": services, "links": {"next": None, "self": call.url, "previous": None}})


async def get_auth_projects(call: Call) -> Response:
    projects = call.desk.directory.projects_of(call.standing.user.id)
    return call.listed("projects", [project_view(p, call.desk.base) for p in projects if p.enabled])


async def get_auth_domains(call: Call) -> Response:
    roles = await call.desk.directory.roles_on(call.standing.user.id, DOMAIN)
    return call.listed("domains", [domain_view(call.desk.base)] if roles else [])


async def get_auth_system(call: Call) -> Response:
    roles = await call.desk.directory.roles_on(call.standing.user.id, SYSTEM)
    return json_answer({"system": [{"all": True}] if roles else [], "links": {"self": call.url}})


async def _prove(desk: Desk, login: Login, source: str) -> tuple[User, Claims | None, AppCredential | None]:
    """Who it is, the claims of the token that it was proved with, and the application credential, if it was one."""
    known: list[User] = []
    parent = app = None
    if login.token is not None:
        standing = await desk.tokens.subject(login.token)
        if standing.app is not None and login.scope.kind not in ("default", "unscoped"):
            _require_own_project(standing, login.scope)
        parent, app = standing.claims, standing.app
        known.append(standing.user)
    if login.user is not None:
        named = await desk.directory.login_user(login.user.id, login.user.name)
        account = named.id if named else login.user.id or login.user.name or ""
        stored = named.password_hash if named else None
        if not await desk.guard.admits(source, account, named, stored, login.password) or named is None:
            raise Unauthorized(REFUSED)
        known.append(named)
    if login.app is not None:
        app = await _prove_app(desk, login.app, source)
        owner = await desk.directory.login_user(app.user, None)
        known.extend([owner] if owner else [])
    if not known or any(user.id != known[0].id or not user.enabled for user in known):
        raise Unauthorized(REFUSED)
    return known[-1], parent, app


async def _prove_app(desk: Desk, given: AppLogin, source: str) -> AppCredential:
    user = None
    if given.user is not None:
        user = await desk.directory.login_user(given.user.id, given.user.name)
    app = None
    if given.ref.id or user:
        app = await desk.directory.login_app(given.ref.id, given.ref.name, user.id if user else None)
    account = app.id if app else given.ref.id or given.ref.name or ""
    if (
        not await desk.guard.admits(source, account, None, app.secret_hash if app else None, given.secret)
        or app is None
    ):
        raise Unauthorized(REFUSED)
    return app


def _require_own_project(standing: Standing, scope: Scope) -> None:
    """A token of an application credential opens no other door than that did."""
    project = standing.project
    own = {project.id, project.name} if project else set()
    if scope.project is None or (scope.project.id or scope.project.name) not in own:
        raise Unauthorized(REFUSED)


async def _enter(desk: Desk, scope: Scope, user: User) -> str | None:
    """The project, domain or system that is asked for; whether the user has a role there is seen at the issue."""
    if scope.kind in ("domain", "system"):
        return DOMAIN if scope.kind == "domain" else SYSTEM
    if scope.project is not None:
        project = await desk.directory.login_project(scope.project.id, scope.project.name)
        if project is None:
            raise Unauthorized(REFUSED)
        return project.id
    if scope.kind == "default" and user.default_project is not None:
        project = await desk.directory.project(user.default_project)
        if project and project.enabled and await desk.directory.roles_on(user.id, project.id):
            return project.id
    return None


async def _subject(call: Call) -> tuple[str, Standing]:
    """The token that is asked about. Raises NotFound."""
    token = call.request.headers.get(SUBJECT, "")
    return token, await call.desk.tokens.subject(token, call.desk.tokens.window(call.query))


def _answer(desk: Desk, request: Request, token: str, standing: Standing, status: int) -> Response:
    services = None if "nocatalog" in request.query_params else catalog(desk.api_url, desk.region)
    return json_answer(token_view(standing, services), status, {SUBJECT: token, **VARY})
