"""An HTTP listener inside our own event loop and our own signal handling."""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Generator

import uvicorn
from starlette.types import ASGIApp

from runtime.connections import Connections, bounded_protocol
from schemas.errors import KilonovaError
from schemas.settings import HttpSettings


class PortTakenError(KilonovaError):
    """The configured address cannot be listened on."""


class InsecureListenerError(KilonovaError):
    """The configured address may not be listened on without TLS."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # signals are the process's own affair


def listen(host: str, port: int, http: HttpSettings, section: str, *, shared: bool = False) -> socket.socket:
    """A socket that listens. `section` is where the settings stand, for messages; `shared` lets several processes of
    one site serve the same port.

    Raises:
        InsecureListenerError: `host` is not a loopback address, TLS is not configured, and plain HTTP is not allowed.
        PortTakenError: The address cannot be bound.
    """
    if http.fault:
        raise InsecureListenerError(f"{section}.{http.fault}")
    if not (http.tls_cert or http.allow_plaintext or is_loopback(host)):
        raise InsecureListenerError(
            f"refusing to listen on {host}:{port} without TLS: name a certificate and its key in "
            f"{section}.http.tls_cert and {section}.http.tls_key, or listen on 127.0.0.1, or set "
            f"{section}.http.allow_plaintext = true where a proxy ends TLS or nobody else reaches the network"
        )
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=4096, reuse_port=shared)
    except OSError as error:
        raise PortTakenError(f"cannot listen on {host}:{port}: {error.strerror}; configure another port") from error


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address. Names other than localhost are not resolved: they may change."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def serve_http(app: ASGIApp, listener: socket.socket, http: HttpSettings) -> None:
    """Until cancelled; then takes no more connections and finishes the requests in flight."""
    config = uvicorn.Config(
        app,
        http=bounded_protocol(Connections(http)),
        ws="none",
        log_level="warning",
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,  # uvicorn would believe everything that connects from loopback
        timeout_graceful_shutdown=5,
        timeout_keep_alive=75,
        ssl_certfile=http.tls_cert or None,
        ssl_keyfile=http.tls_key or None,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving
        raise
