"""Cross-origin requests of browsers, as the site allows them."""

from collections.abc import Mapping
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.settings import CorsSettings

Headers = list[tuple[bytes, bytes]]

SIMPLE: Final = frozenset({"accept", "accept-language", "content-type", "cache-control", "content-language", "expires"})
"""headers that need no permission"""
_VARY: Final = (b"vary", b"origin")


class Cors:
    def __init__(self, settings: CorsSettings) -> None:
        self._settings = settings
        self._origins = frozenset(settings.allowed_origin)
        self._headers = frozenset(h.lower() for h in settings.allow_headers)

    @property
    def active(self) -> bool:
        return bool(self._origins)

    def headers(self, asked: Mapping[str, str]) -> Headers:
        """What is added to the answer of an ordinary request."""
        origin = self._origin(asked)
        if origin is None:
            return []
        found = [_VARY, (b"access-control-allow-origin", origin.encode("latin-1"))]
        if self._settings.allow_credentials and "*" not in self._origins:
            found.append((b"access-control-allow-credentials", b"true"))
        if self._settings.expose_headers:
            found.append((b"access-control-expose-headers", ",".join(self._settings.expose_headers).encode()))
        return found

    def preflight(self, asked: Mapping[str, str]) -> Headers:
        """What a browser is told that asks whether it may ask; without what it needs, it may not."""
        origin, method = self._origin(asked), asked.get("access-control-request-method")
        if origin is None or method not in self._settings.allow_methods:
            return []
        wanted = [h.strip() for h in asked.get("access-control-request-headers", "").split(",") if h.strip()]
        if any(h.lower() not in self._headers and h.lower() not in SIMPLE for h in wanted):
            return []
        found = [
            *self.headers(asked),
            (b"access-control-max-age", str(self._settings.max_age).encode()),
            (b"access-control-allow-methods", method.encode()),
        ]
        if wanted:
            found.append((b"access-control-allow-headers", ",".join(wanted).encode("latin-1")))
        return found

    def _origin(self, asked: Mapping[str, str]) -> str | None:
        origin = asked.get("origin")
        return origin if origin is not None and (origin in self._origins or "*" in self._origins) else None


class CorsMiddleware:
    """Answers browsers' questions whether they may ask, and says so with every answer to them."""

    def __init__(self, app: ASGIApp, settings: CorsSettings) -> None:
        self._app = app
        self._cors = Cors(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._cors.active:
            await self._app(scope, receive, send)
            return
        asked = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if scope["method"] == "OPTIONS" and "origin" in asked:
            headers = [*self._cors.preflight(asked), (b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        more = self._cors.headers(asked)

        async def send_with_permission(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *more]
            await send(message)

        await self._app(scope, receive, send_with_permission)
