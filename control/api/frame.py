"""What surrounds every request: its id and trace, a deadline, a limit of its body, a line in the log, a figure."""

import asyncio
import os
import time
from functools import lru_cache
from typing import Any, Final

import orjson
import structlog
from prometheus_client import Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runtime import ambient
from schemas.context import BRIEFLY, OPERATION, REQUEST_ID, TRACEPARENT, new_traceparent, valid_traceparent
from schemas.errors import TooLarge, Unavailable, fault_name
from schemas.numbers import whole_number

log = structlog.get_logger()

SECONDS: Final = Histogram(
    "kilonova_api_seconds",
    "Requests by operation (or room) and status",
    ["operation", "status"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
)

MAX_BODY: Final = 114688
"""bytes; Nova's max_request_body_size"""
MAX_RESHAPE: Final = 4 << 20
"""bytes; a body of the Placement API may tell of many providers and consumers"""
PLACEMENT: Final = "/placement/"
AT_ONCE: Final = 2000
"""requests of one process; at 100 requests a second each waits for 20 seconds, a third of the deadline"""
STREAMING: Final = "/image/"
"""The room whose bodies are as long, and take as long, as they do"""
QUIET: Final = frozenset({"/healthz", "/readyz"})
ROOMS: Final = frozenset({"compute", "identity", "image", "placement", "v2.1", "v2", "healthz", "readyz"})
"""First path segments that metrics name; anything else is `other`"""


class Frame:
    """ASGI middleware. `deadline`: seconds until a request is given up with 503. `max_body`: bytes, outside of the
    rooms that have a limit of their own. `at_once`: requests that are worked on; more are answered with 503 at once,
    so that those that were taken are answered within their time."""

    def __init__(self, app: ASGIApp, deadline: float, max_body: int = MAX_BODY, at_once: int = AT_ONCE) -> None:
        self._app = app
        self._deadline = deadline
        self._max_body = max_body
        self._at_once = at_once
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = f"req-{ambient.new_uuid()}"
        REQUEST_ID.set(request_id)
        given = next((v for k, v in scope["headers"] if k == b"traceparent"), b"").decode("latin-1")
        TRACEPARENT.set(valid_traceparent(given) or new_traceparent(os.urandom(24)))
        structlog.contextvars.bind_contextvars(request_id=request_id)
        ids = request_id.encode()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-compute-request-id", ids),
                    (b"x-openstack-request-id", ids),
                ]
            await send(message)

        try:
            if scope["path"].startswith(STREAMING):
                await self._app(scope, receive, send_with_id)
            else:
                await self._bounded(scope, receive, send_with_id)
        except Exception as error:
            if status:  # the answer has begun: its connection can only be cut
                raise
            if isinstance(error, TimeoutError):
                await _refuse(send_with_id, 503, f"The request was not done within {self._deadline:g} seconds.")
            elif isinstance(error, TooLarge | Unavailable):
                await _refuse(send_with_id, error.code, error.message)
            else:
                log.error("unexpected error", exc_info=error)
                await _refuse(send_with_id, 500, "Unexpected API Error. The log holds its cause under the request id.")
        finally:
            self._tell(scope, status, time.perf_counter() - began)
            structlog.contextvars.unbind_contextvars("request_id")

    async def _bounded(self, scope: Scope, receive: Receive, send: Send) -> None:
        most = MAX_RESHAPE if scope["path"].startswith(PLACEMENT) else self._max_body
        length = next((v for k, v in scope["headers"] if k == b"content-length"), b"0")
        if (whole_number(length.decode("latin-1")) or 0) > most:
            raise TooLarge("Request is too large.")
        taken = 0

        async def receive_limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most:
                raise TooLarge("Request is too large.")
            return message

        if self._under_way >= self._at_once:
            raise Unavailable("Too many requests are being worked on. Try again later.")
        self._under_way += 1
        try:
            async with asyncio.timeout(self._deadline):
                await self._app(scope, receive_limited, send)
        finally:
            self._under_way -= 1

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        path = scope["path"]
        room = path.split("/", 2)[1]
        operation = scope.get(OPERATION) or (room if room in ROOMS else "other")
        _series(operation, status).observe(seconds)
        if path not in QUIET and not (scope.get(BRIEFLY) and status < 500):
            log.info(
                "request",
                method=scope["method"],
                path=path,
                status=status,
                operation=operation,
                ms=round(seconds * 1000, 1),
            )


@lru_cache(4096)
def _series(operation: str, status: int) -> Histogram:
    """Looked up once: finding a series by its labels costs as much as all else that is told of a request."""
    return SECONDS.labels(operation, status)


async def _refuse(send: Send, code: int, message: str) -> None:
    body: dict[str, Any] = {fault_name(code): {"code": code, "message": message}}
    headers = [(b"content-type", b"application/json")]
    if code in (413, 503):
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": orjson.dumps(body)})
