"""The control plane's processes: what each connects to, runs and drains.

A role imports its rooms itself: a process holds in memory only what it runs.
"""

import asyncio
import os
import socket
from contextlib import suppress
from datetime import timedelta
from functools import partial
from random import Random
from typing import Final
from uuid import uuid4

from runtime.health import Health
from runtime.http import listen, serve_http
from runtime.process import Role, drained, run_until
from schemas.settings import Settings

START_SECONDS: Final = 3.0
"""how long a starting API keeps its first clients waiting rather than refuse them"""


def pod_name(role: str) -> str:
    """Unlike any other process's, now or ever."""
    return f"{role}-{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"


def api_role(settings: Settings) -> Role:
    async def role(health: Health, stopping: asyncio.Event) -> None:
        from control.api.app import build_app
        from control.identity.directory import Directory
        from control.identity.keys import Keys
        from control.identity.tokens import Tokens
        from control.images.app import open_blobs
        from control.placement.api.asker import ByToken
        from control.placement.api.room import open_room
        from control.releases import attend_top
        from control.top import open_top

        listener = listen(
            settings.api.host, settings.api.port, settings.api.http, "api", shared=settings.api.workers > 1
        )
        pod = pod_name("api")
        async with open_top(settings, pod, cell_buses=True, serving=True) as top:
            keys, directory = Keys(top.store, top.key), Directory(top.store)
            tokens = Tokens(keys, directory, timedelta(hours=settings.api.token_hours))
            health.checks["identity"] = lambda: tokens.ready
            placement = open_room(top.store, ByToken(tokens), settings.placement)
            health.checks["placement"] = placement.view.synced.is_set
            app = build_app(top, tokens, health, placement.app)

            async def serve() -> None:
                # Who connects meanwhile waits; when etcd is away for longer, he is told so.
                with suppress(TimeoutError):
                    await asyncio.wait_for(tokens.until_ready(), START_SECONDS)
                await serve_http(app, listener, settings.api.http)

            attendance = attend_top(top, "nova-osapi_compute", pod)
            await run_until(stopping, tokens.run(), open_blobs(top).run(), placement.run(), serve(), attendance.run())

    return role


def placement_role(settings: Settings) -> Role:
    async def role(health: Health, stopping: asyncio.Event) -> None:
        from control.placement.api.room import run_alone

        await run_alone(settings, pod_name("placement"), health, stopping)

    return role


def scheduler_role(settings: Settings) -> Role:
    async def role(health: Health, stopping: asyncio.Event) -> None:
        from bus.service import Service
        from control.releases import attend_top
        from control.scheduler.feed import Feed
        from control.scheduler.pipeline import follows_servers, load_pipeline
        from control.scheduler.service import Scheduler
        from control.top import open_top

        pipeline, draw, pod = load_pipeline(settings), Random(), pod_name("scheduler")
        async with open_top(settings, pod, cell_buses=False) as top:
            feed = Feed(top, with_servers=follows_servers(pipeline, settings), draw=draw)
            service = Service(top.bus, "scheduler", "0.1.0", "chooses and claims hosts")
            health.checks["model"] = lambda: feed.ready
            await service.start()

            async def serve() -> None:
                await feed.until_ready()
                with suppress(TimeoutError):  # a cell that does not answer is not waited for
                    await asyncio.wait_for(feed.until_cells_ready(), START_SECONDS)
                await Scheduler(top, feed, pipeline, draw).serve(service)
                await asyncio.Event().wait()

            await run_until(stopping, feed.run(), serve(), attend_top(top, "nova-scheduler", pod).run())
            await drained(5, service.stop())

    return role


def super_conductor_role(settings: Settings) -> Role:
    async def role(health: Health, stopping: asyncio.Event) -> None:
        from control.conductor.top.conductor import SuperConductor
        from control.identity.keys import Keys
        from control.releases import CONDUCTOR, attend_top
        from control.top import open_top

        pod = pod_name("super")
        async with open_top(settings, pod, cell_buses=True) as top:
            keys = Keys(top.store, top.key)
            following = asyncio.create_task(keys.run(), name="signing keys")
            try:
                attending = attend_top(top, CONDUCTOR, pod, tells_cells=True).run()
                await SuperConductor(top, keys, pod).run(health, stopping, attending)
            finally:
                following.cancel()

    return role


def conductor_role(settings: Settings) -> Role:
    async def role(health: Health, stopping: asyncio.Event) -> None:
        from control.conductor.cell.conductor import run_conductor

        await run_conductor(settings, pod_name(f"conductor-{settings.cell.name}"), health, stopping)

    return role


def _is_ready(health: Health) -> bool:
    return not health.missing()


def all_roles(settings: Settings) -> Role:
    """Four roles on one event loop: the least memory, for a small site."""
    roles = [r(settings) for r in (api_role, scheduler_role, super_conductor_role, conductor_role)]

    async def role(health: Health, stopping: asyncio.Event) -> None:
        parts = [Health() for _ in roles]
        for number, part in enumerate(parts):
            health.checks[f"part {number}"] = partial(_is_ready, part)
        async with asyncio.TaskGroup() as group:
            for run, part in zip(roles, parts, strict=True):
                group.create_task(run(part, stopping))

    return role
