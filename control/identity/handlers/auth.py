"""Tokens over HTTP, and what their owner may do with them."""

from starlette.requests import Request
from starlette.responses import Response

from control.identity.call import Call, Desk
from control.identity.catalog import catalog
from control.identity.claims import REFUSED, Claims
from control.identity.http import json_answer, read_json
from control.identity.login import Login, Scope, parse_login
from control.identity.tokens import Standing
from control.identity.views import collection, domain_view, project_view, token_view
from schemas.errors import NotFound, Unauthorized
from schemas.identity import DOMAIN, User

SUBJECT = "X-Subject-Token"
VARY = {"Vary": "X-Auth-Token"}


async def log_in(desk: Desk, request: Request) -> Response:
    """The only request that needs no token."""
    login = parse_login(await read_json(request))
    user, parent = await _prove(desk, login)
    scope = await _enter(desk, login.scope, user)
    methods = tuple(dict.fromkeys((*login.methods, *(parent.methods if parent else ()))))
    token, standing = await desk.tokens.issue(user, scope, methods, parent)
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
    if call.standing.claims.project is None:
        raise call.forbidden()
    services = catalog(call.desk.api_url, call.desk.region)
    return json_answer({"catalog": services, "links": {"next": None, "self": call.url, "previous": None}})


async def get_auth_projects(call: Call) -> Response:
    projects = call.desk.directory.projects_of(call.standing.user.id)
    views = [project_view(project, call.desk.base) for project in projects if project.enabled]
    return json_answer(collection("projects", views, call.url))


async def get_auth_domains(call: Call) -> Response:
    roles = await call.desk.directory.roles_on(call.standing.user.id, DOMAIN)
    return json_answer(collection("domains", [domain_view(call.desk.base)] if roles else [], call.url))


async def get_auth_system(call: Call) -> Response:
    return json_answer({"system": [], "links": {"self": call.url}})


async def _prove(desk: Desk, login: Login) -> tuple[User, Claims | None]:
    """Who it is, and the claims of the token that it was proved with, if one was."""
    user = parent = None
    if login.token is not None:
        standing = await desk.tokens.inspect(login.token)
        user, parent = standing.user, standing.claims
    if login.user is not None:
        named = await desk.directory.login_user(login.user.id, login.user.name)
        right = await desk.passwords.matches(named.password_hash if named else None, login.password)
        if not right or (user is not None and named != user):
            raise Unauthorized(REFUSED)
        user = named
    if user is None or not user.enabled:
        raise Unauthorized(REFUSED)
    return user, parent


async def _enter(desk: Desk, scope: Scope, user: User) -> str | None:
    """The id of the project or domain that is asked for; whether the user has a role there is seen at the issue."""
    if scope.kind == "domain":
        return DOMAIN
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
    """The token that is asked about: one's own, or anyone's for admins and services."""
    token = call.request.headers.get(SUBJECT, "")
    try:
        standing = await call.desk.tokens.inspect(token)
    except Unauthorized as error:
        raise NotFound("Could not find token.") from error
    service = any(role.name == "service" for role in call.standing.roles)
    if not (service or call.is_admin) and standing.user.id != call.standing.user.id:
        raise call.forbidden()
    return token, standing


def _answer(desk: Desk, request: Request, token: str, standing: Standing, status: int) -> Response:
    services = None if "nocatalog" in request.query_params else catalog(desk.api_url, desk.region)
    return json_answer(token_view(standing, services), status, {SUBJECT: token, **VARY})
