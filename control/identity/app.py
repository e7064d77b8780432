"""The identity API: the table of what can be asked, versions, and Keystone's error bodies."""

from http import HTTPStatus
from typing import Any, Final

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from control.identity.call import Desk, Operation, route
from control.identity.handlers import auth, grants, projects, roles, services, users
from control.identity.http import json_answer
from control.identity.passwords import Passwords
from control.identity.tokens import Tokens
from control.top import Top
from schemas.errors import KilonovaError

log = structlog.get_logger()

PROJECT_USER: Final = "/v3/projects/{project}/users/{user}/roles"
DOMAIN_USER: Final = "/v3/domains/{domain}/users/{user}/roles"

# HEAD stands before GET: a route for GET answers HEAD too.
OPERATIONS: Final = (
    Operation("HEAD", "/v3/auth/tokens", auth.check_token, "anyone"),
    Operation("GET", "/v3/auth/tokens", auth.validate_token, "anyone"),
    Operation("DELETE", "/v3/auth/tokens", auth.revoke_token, "anyone"),
    Operation("GET", "/v3/auth/catalog", auth.get_auth_catalog, "anyone"),
    Operation("GET", "/v3/auth/projects", auth.get_auth_projects, "anyone"),
    Operation("GET", "/v3/auth/domains", auth.get_auth_domains, "anyone"),
    Operation("GET", "/v3/auth/system", auth.get_auth_system, "anyone"),
    Operation("GET", "/v3/users", users.list_users),
    Operation("POST", "/v3/users", users.create_user),
    Operation("GET", "/v3/users/{user}", users.get_user, "anyone"),
    Operation("PATCH", "/v3/users/{user}", users.update_user),
    Operation("DELETE", "/v3/users/{user}", users.delete_user),
    Operation("POST", "/v3/users/{user}/password", users.change_password, "anyone"),
    Operation("GET", "/v3/users/{user}/projects", users.list_user_projects, "anyone"),
    Operation("GET", "/v3/users/{user}/groups", users.list_user_groups, "anyone"),
    Operation("GET", "/v3/projects", projects.list_projects),
    Operation("POST", "/v3/projects", projects.create_project),
    Operation("GET", "/v3/projects/{project}", projects.get_project, "anyone"),
    Operation("PATCH", "/v3/projects/{project}", projects.update_project),
    Operation("DELETE", "/v3/projects/{project}", projects.delete_project),
    Operation("GET", "/v3/domains", projects.list_domains),
    Operation("GET", "/v3/domains/{domain}", projects.get_domain, "anyone"),
    Operation("GET", "/v3/roles", roles.list_roles),
    Operation("POST", "/v3/roles", roles.create_role),
    Operation("GET", "/v3/roles/{role}", roles.get_role),
    Operation("PATCH", "/v3/roles/{role}", roles.update_role),
    Operation("DELETE", "/v3/roles/{role}", roles.delete_role),
    Operation("GET", "/v3/role_assignments", grants.list_role_assignments, "anyone"),
    *(
        operation
        for path in (PROJECT_USER, DOMAIN_USER)
        for operation in (
            Operation("GET", path, grants.list_grants),
            Operation("PUT", path + "/{role}", grants.create_grant),
            Operation("HEAD", path + "/{role}", grants.check_grant),
            Operation("GET", path + "/{role}", grants.check_grant),
            Operation("DELETE", path + "/{role}", grants.revoke_grant),
        )
    ),
    Operation("GET", "/v3/services", services.list_services),
    Operation("GET", "/v3/services/{service}", services.get_service),
    Operation("GET", "/v3/endpoints", services.list_endpoints),
    Operation("GET", "/v3/endpoints/{endpoint}", services.get_endpoint),
    Operation("GET", "/v3/regions", services.list_regions, "anyone"),
    Operation("GET", "/v3/regions/{region}", services.get_region, "anyone"),
)


def identity_app(top: Top, tokens: Tokens) -> Starlette:
    """To be mounted at /identity. `tokens.run()` is its owner's to run."""
    api = top.settings.api
    desk = Desk(tokens, Passwords(), api.url, api.region)

    async def versions(_: Request) -> Response:
        return json_answer({"versions": {"values": [_version(desk)]}}, 300)

    async def version(_: Request) -> Response:
        return json_answer({"version": _version(desk)})

    async def log_in(request: Request) -> Response:
        return await auth.log_in(desk, request)

    def refused(_: Request, error: Exception) -> Response:
        return error_answer(error, desk)

    return Starlette(
        routes=[
            Route("/", versions),
            Route("/v3", version),
            Route("/v3/", version),
            Route("/v3/auth/tokens", log_in, methods=["POST"]),
            *(route(operation, desk) for operation in OPERATIONS),
        ],
        exception_handlers={KilonovaError: refused, HTTPException: refused},
        middleware=[Middleware(ExceptionMiddleware, handlers={Exception: refused})],  # answers where Starlette raises
    )


def error_answer(error: Exception, desk: Desk) -> Response:
    """Keystone's form. What nobody foresaw is logged here and told to nobody else."""
    headers: dict[str, str] = {}
    if isinstance(error, HTTPException):
        code, message = error.status_code, ROUTING_TEXTS.get(error.status_code, error.detail)
    elif isinstance(error, KilonovaError) and error.code != 500:
        code, message = error.code, error.message
    else:
        log.error("unexpected error", exc_info=error)
        code, message = 500, "An unexpected error prevented the server from fulfilling your request."
    if code == 401:
        headers["WWW-Authenticate"] = f'Keystone uri="{desk.api_url}/identity"'
    if code == 503:
        headers["Retry-After"] = "1"
    title = HTTPStatus(code).phrase
    return json_answer({"error": {"code": code, "message": message, "title": title}}, code, headers)


ROUTING_TEXTS: Final = {404: "The resource could not be found.", 405: "The method is not allowed for the resource."}


def _version(desk: Desk) -> dict[str, Any]:
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": f"{desk.base}/"}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }
