"""A request goes to the room that the first segment of its path names, and is told where that room stands."""

from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from control.api.app import Rooms


async def _nothing() -> dict[str, Any]:
    return {"type": "http.request"}


async def _ignored(message: Any) -> None:
    return None


async def entered(path: str, kind: str = "http") -> tuple[str, str, str]:
    """The room, and the path and root path that it was told."""
    seen: list[tuple[str, str, str]] = []

    def room(name: str) -> ASGIApp:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append((name, scope["path"], scope.get("root_path", "")))

        return app

    rooms = Rooms({"image": room("image"), "compute": room("compute")}, room("rest"), room("health"))
    scope = {"type": kind, "path": path, "raw_path": path.encode(), "root_path": ""}
    await rooms(scope, _nothing, _ignored)
    return seen[0]


@pytest.mark.parametrize(
    ("path", "room", "told", "root"),
    [
        ("/image/v2/images", "image", "/image/v2/images", "/image"),
        ("/image/", "image", "/image/", "/image"),
        ("/image", "image", "/image/", "/image"),
        ("/image/a\nb", "image", "/image/a\nb", "/image"),
        ("/compute/v2.1/servers", "compute", "/compute/v2.1/servers", "/compute"),
        ("/v2.1/servers", "rest", "/v2.1/servers", ""),
        ("/images/v2", "rest", "/images/v2", ""),
        ("//image/v2", "rest", "//image/v2", ""),
        ("/", "rest", "/", ""),
        ("", "rest", "", ""),
        ("/healthz", "health", "/healthz", ""),
        ("/healthz/", "rest", "/healthz/", ""),
    ],
)
async def test_the_first_segment_names_the_room(path: str, room: str, told: str, root: str) -> None:
    assert await entered(path) == (room, told, root)


async def test_what_is_no_request_is_nobody_elses() -> None:
    assert (await entered("/image/v2", kind="websocket"))[0] == "health"
