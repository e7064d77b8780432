"""An HTTP listener inside our own event loop and our own signal handling."""

import asyncio
import contextlib
import socket
from collections.abc import Generator

import uvicorn
from starlette.types import ASGIApp

from schemas.errors import KilonovaError


class PortTakenError(KilonovaError):
    """The configured address cannot be listened on."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # signals are the process's own affair


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """`shared` lets several processes of one site serve the same port."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=4096, reuse_port=shared)
    except OSError as error:
        raise PortTakenError(f"cannot listen on {host}:{port}: {error.strerror}; configure another port") from error


async def serve_http(app: ASGIApp, listener: socket.socket) -> None:
    """Until cancelled; then takes no more connections and finishes the requests in flight."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=75,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving
        raise
