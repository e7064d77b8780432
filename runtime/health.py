"""/metrics, /healthz and /readyz of every process."""

import asyncio
from collections.abc import Callable

from attrs import define, field
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from runtime.http import listen, serve_http
from schemas.settings import ProcessSettings


@define(eq=False)
class Health:
    """Ready when every named check says so and nothing is draining; never asks a dependency live."""

    checks: dict[str, Callable[[], bool]] = field(factory=dict)
    draining: bool = False

    def missing(self) -> list[str]:
        """What readiness waits for."""
        return ["draining"] if self.draining else [name for name, check in self.checks.items() if not check()]


def health_routes(health: Health) -> list[Route]:
    """What anybody may ask, an API's clients and balancers too."""

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")  # that this answers is the point: the event loop ticks

    async def readyz(_: Request) -> Response:
        missing = health.missing()
        if missing:
            return PlainTextResponse(f"waiting for: {', '.join(missing)}\n", 503)
        return PlainTextResponse("ready\n")

    return [Route("/healthz", healthz), Route("/readyz", readyz)]


async def _metrics(_: Request) -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def serve_health(settings: ProcessSettings, health: Health) -> None:
    """Until cancelled; serves nothing when no port is configured."""
    if not settings.observe_port:
        await asyncio.Event().wait()
    app = Starlette(routes=[*health_routes(health), Route("/metrics", _metrics)])
    listener = listen(settings.observe_host, settings.observe_port, settings.http, "process")
    await serve_http(app, listener, settings.http)
