"""The identity API: what needs no token, the table of what does, and Keystone's error bodies."""

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

from control.identity.call import Desk, route
from control.identity.guard import LoginGuard
from control.identity.handlers import auth, users
from control.identity.http import json_answer
from control.identity.openapi import document
from control.identity.operations import OPERATIONS
from control.identity.policy import DEFAULTS
from control.identity.tokens import Tokens
from control.rules import Rules
from control.top import Top
from control.writes import TenantWrites
from schemas.errors import KilonovaError, TooManyRequests

log = structlog.get_logger()


def identity_app(top: Top, tokens: Tokens) -> Starlette:
    """To be mounted at /identity. `tokens.run()` is its owner's to run."""
    api = top.settings.api
    desk = Desk(
        tokens,
        LoginGuard.at(top.store, api),
        Rules(DEFAULTS, api.identity_policy_file, setting="api.identity_policy_file"),
        api.url,
        api.region,
        TenantWrites.at(top.settings.top.store, api),
        api.app_credentials_per_user,
    )

    async def versions(_: Request) -> Response:
        return json_answer({"versions": {"values": [_version(desk)]}}, 300)

    async def version(_: Request) -> Response:
        return json_answer({"version": _version(desk)})

    async def openapi(_: Request) -> Response:
        return Response(document(), media_type="application/json")

    async def log_in(request: Request) -> Response:
        return await auth.log_in(desk, request)

    async def change_password(request: Request) -> Response:
        return await users.change_password(desk, request)

    def refused(_: Request, error: Exception) -> Response:
        return error_answer(error, desk)

    return Starlette(
        routes=[
            Route("/", versions),
            Route("/openapi.json", openapi),
            Route("/v3", version),
            Route("/v3/", version),
            Route("/v3/auth/tokens", log_in, methods=["POST"]),
            Route("/v3/users/{user}/password", change_password, methods=["POST"]),
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
    if isinstance(error, TooManyRequests):
        headers["Retry-After"] = str(error.retry_after)
    title = HTTPStatus(code).phrase
    return json_answer({"error": {"code": code, "message": message, "title": title}}, code, headers)


ROUTING_TEXTS: Final = {
    404: "The requested URL was not found on the server. If you entered the URL manually please check your spelling "
    "and try again.",
    405: "The method is not allowed for the requested URL.",
}


def _version(desk: Desk) -> dict[str, Any]:
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": f"{desk.base}/"}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }
