"""Browsers' questions whether a page of another origin may ask, as the site allows it."""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from control.rest.kit.cors import CorsMiddleware
from schemas.settings import ApiCorsSettings

HERE = "https://dashboard.example.com"
UPLOAD = {"access-control-request-method": "PUT", "access-control-request-headers": "x-auth-token, content-type"}


async def _answer(_: Request) -> Response:
    return Response(status_code=204)


def browser(*allowed: str) -> httpx.AsyncClient:
    app = Starlette(routes=[Route("/image/v2/images/i/file", _answer, methods=["PUT"])])
    transport = httpx.ASGITransport(CorsMiddleware(app, ApiCorsSettings(allowed_origin=allowed)))
    return httpx.AsyncClient(transport=transport, base_url="http://api")


@pytest.mark.parametrize(("origin", "allowed"), [(HERE, True), ("https://elsewhere.example.com", False)])
async def test_an_upload_of_a_page(origin: str, allowed: bool) -> None:
    """Pages of a dashboard upload images straight to the image API: their question was a 405."""
    async with browser(HERE) as http:
        asked = await http.options("/image/v2/images/i/file", headers={"origin": origin, **UPLOAD})
        assert asked.status_code == 200
        assert ("access-control-allow-methods" in asked.headers) == allowed
        done = await http.put("/image/v2/images/i/file", headers={"origin": origin})
        assert done.headers.get("access-control-allow-origin") == (origin if allowed else None)


async def test_nothing_changes_where_no_origin_is_allowed() -> None:
    async with browser() as http:
        asked = await http.options("/image/v2/images/i/file", headers={"origin": HERE, **UPLOAD})
        assert asked.status_code == 405
        assert "access-control-allow-origin" not in asked.headers
