"""The composition of all HTTP applications."""

from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from control.api.frame import QUIET, Frame
from control.compute.app import ComputeApp
from control.identity.app import identity_app
from control.identity.tokens import Tokens
from control.images.app import images_app
from control.rest.kit.cors import CorsMiddleware
from control.top import Top
from runtime.health import Health, health_routes


class Rooms:
    """Passes a request on by the first segment of its path; what is in no room goes to `rest`.

    Every request comes through here, so it is a look-up and not one pattern after the other. A room's own address means
    its front page: clients discover `/image` as well as `/image/`.
    """

    def __init__(self, rooms: Mapping[str, ASGIApp], rest: ASGIApp, health: ASGIApp) -> None:
        self._rooms = rooms
        self._rest = rest
        self._health = health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in QUIET:
            await self._health(scope, receive, send)
            return
        path: str = scope["path"]
        name = path.split("/", 2)[1] if path.startswith("/") else ""
        room = self._rooms.get(name)
        if room is None:
            await self._rest(scope, receive, send)
            return
        mount = f"/{name}"
        if path == mount:
            scope["path"], scope["raw_path"] = f"{mount}/", f"{mount}/".encode()
        scope["app_root_path"], scope["root_path"] = "", mount  # as Starlette tells its own mounted applications
        await room(scope, receive, send)


def build_app(top: Top, tokens: Tokens, health: Health, placement: ASGIApp) -> ASGIApp:
    """Compute under /compute and, for clients that know no prefix, under the root as well."""
    cors = top.settings.api.cors
    compute = CorsMiddleware(ComputeApp(top, tokens), cors)
    rooms: dict[str, ASGIApp] = {
        "identity": CorsMiddleware(identity_app(top, tokens), cors),
        "image": CorsMiddleware(images_app(top, tokens), cors),
        "placement": placement,
        "compute": compute,
    }
    return Frame(Rooms(rooms, compute, Starlette(routes=health_routes(health))), top.settings.api.request_timeout)
