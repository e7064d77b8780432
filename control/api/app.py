"""The composition of all HTTP applications."""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from control.api.frame import Frame
from control.compute.app import ComputeApp
from control.identity.app import identity_app
from control.identity.tokens import Tokens
from control.images.app import images_app
from control.top import Top
from runtime.health import Health, health_routes

ROOMS = frozenset({"/compute", "/identity", "/image", "/placement"})


class BareRoom:
    """A room's own address means its front page: clients discover `/image` as well as `/image/`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] in ROOMS:
            scope = {**scope, "path": scope["path"] + "/", "raw_path": scope["path"].encode() + b"/"}
        await self._app(scope, receive, send)


def build_app(top: Top, tokens: Tokens, health: Health, placement: ASGIApp) -> Starlette:
    """Compute under /compute and, for clients that know no prefix, under the root as well."""
    rooms: dict[str, ASGIApp] = {
        "/identity": identity_app(top, tokens),
        "/image": images_app(top, tokens),
        "/placement": placement,
    }
    compute = ComputeApp(top, tokens)
    return Starlette(
        routes=[
            *health_routes(health),
            *(Mount(path, app) for path, app in rooms.items()),
            Mount("/compute", compute),
            Mount("", compute),
        ],
        middleware=[Middleware(BareRoom), Middleware(Frame, deadline=top.settings.api.request_timeout)],
    )
