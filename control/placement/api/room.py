"""Placement beside the other APIs, and as a process of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Final

from attrs import define
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from control.api.frame import MAX_RESHAPE, QUIET, Frame
from control.placement.api.app import Ask, PlacementApp
from control.placement.api.asker import ByHeaders, ByToken
from control.placement.memberships import Memberships
from control.placement.view import View
from control.placement.writer import Writer
from control.releases import attend_store
from kv.client import Etcd
from kv.store import Store
from runtime.health import Health, health_routes
from runtime.http import listen, serve_http
from runtime.process import run_until
from schemas.settings import PlacementSettings, Settings

MOUNT: Final = "/placement"
BINARY: Final = "placement-api"
"""by which a process of its own is known"""
START_SECONDS: Final = 3.0
"""how long the first clients wait for the view"""


@define(eq=False)
class Room:
    """`run` keeps it answering."""

    view: View
    memberships: Memberships
    app: PlacementApp

    async def run(self) -> None:
        async with asyncio.TaskGroup() as following:
            following.create_task(self.view.run())
            following.create_task(self.memberships.run())


def open_room(store: Store, ask: Ask, settings: PlacementSettings) -> Room:
    view, memberships = View(store), Memberships(store)
    writer = Writer(store, view, settings.allocation_conflict_retry_count)
    return Room(view, memberships, PlacementApp(view, writer, memberships, ask, settings))


class Alone:
    """The whole of a process's HTTP: health, and placement at the root as well as below `/placement`."""

    def __init__(self, placement: ASGIApp, health: ASGIApp) -> None:
        self._placement = placement
        self._health = health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path in QUIET:
            await self._health(scope, receive, send)
            return
        if path == MOUNT or path.startswith(f"{MOUNT}/"):
            scope = {**scope, "root_path": MOUNT}
        await self._placement(scope, receive, send)


async def run_alone(settings: Settings, pod: str, health: Health, stopping: asyncio.Event) -> None:
    """`kilonova placement`: needs etcd and, unless it believes headers, the site key; no bus."""
    chosen = settings.placement
    listener = listen(chosen.host, chosen.port, chosen.http, "placement")
    etcd = Etcd(settings.top.store)
    store = Store(etcd, settings.top.prefix)
    try:
        async with _asking(settings, store, health) as ask:
            room = open_room(store, ask, chosen)
            health.checks["placement"] = room.view.synced.is_set
            app = Frame(
                Alone(room.app, Starlette(routes=health_routes(health))), settings.api.request_timeout, MAX_RESHAPE
            )

            async def serve() -> None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(room.view.synced.wait(), START_SECONDS)
                await serve_http(app, listener, chosen.http)

            await run_until(stopping, room.run(), serve(), attend_store(store, BINARY, pod).run())
    finally:
        await etcd.close()


@asynccontextmanager
async def _asking(settings: Settings, store: Store, health: Health) -> AsyncIterator[Ask]:
    if settings.placement.auth_strategy == "noauth2":
        yield ByHeaders()
        return
    from control.identity.directory import Directory
    from control.identity.keys import Keys
    from control.identity.tokens import Tokens
    from control.secrets import SiteKey

    keys = Keys(store, SiteKey.load(settings.top.site_key_file))
    tokens = Tokens(keys, Directory(store), timedelta(hours=settings.api.token_hours))
    health.checks["identity"] = lambda: tokens.ready
    following = asyncio.create_task(tokens.run(), name="identity")
    try:
        yield ByToken(tokens)
    finally:
        following.cancel()
