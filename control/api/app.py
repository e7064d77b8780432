"""The composition of all HTTP applications."""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.types import ASGIApp

from control.api.frame import Frame
from control.compute.app import ComputeApp
from control.identity.app import identity_app
from control.identity.tokens import Tokens
from control.images.app import images_app
from control.top import Top
from runtime.health import Health, health_routes


def build_app(top: Top, tokens: Tokens, health: Health) -> Starlette:
    """Compute under /compute and, for clients that know no prefix, under the root as well."""
    rooms: dict[str, ASGIApp] = {
        "/identity": identity_app(top, tokens),
        "/image": images_app(top, tokens),
    }
    compute = ComputeApp(top, tokens)
    return Starlette(
        routes=[
            *health_routes(health),
            *(Mount(path, app) for path, app in rooms.items()),
            Mount("/compute", compute),
            Mount("", compute),
        ],
        middleware=[Middleware(Frame, deadline=top.settings.api.request_timeout)],
    )
