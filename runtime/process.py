"""One process's life: run until SIGTERM, SIGINT or SIGHUP, then drain."""

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import structlog
import uvloop

from runtime.health import Health, serve_health
from runtime.logs import configure_logs
from runtime.loop_lag import watch_loop
from schemas.settings import ProcessSettings

log = structlog.get_logger()

COLLECT_AFTER: Final = 20_000
"""New objects until the garbage collector looks at them. Python's 700 are a few requests' worth: it would go over what
is still in use again and again, for a twentieth of all CPU."""

Role = Callable[[Health, asyncio.Event], Coroutine[Any, Any, None]]
"""Runs until the event is set, then drains and returns."""


def run_process(name: str, settings: ProcessSettings, role: Role) -> None:
    """Blocks until the role has ended. Raises what ended it, if anything did."""
    configure_logs(name, settings.log_level, settings.log_format)
    gc.freeze()  # what was imported stays: it need not be looked at
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_live(name, settings, role))


async def _live(name: str, settings: ProcessSettings, role: Role) -> None:
    stopping = asyncio.Event()
    health = Health()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as it is below nohup
            loop.add_signal_handler(number, stopping.set)
    log.info("started", process=name)
    serving = asyncio.create_task(serve_health(settings, health), name="health")
    working = asyncio.create_task(role(health, stopping), name=name)
    watching = asyncio.create_task(watch_loop(), name="event loop's lag")
    try:
        done, _ = await asyncio.wait([serving, working], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        health.draining = True
        for task in (working, serving, watching):
            task.cancel()
        await asyncio.gather(serving, working, watching, return_exceptions=True)
    log.info("ended", process=name)


async def run_until(stopping: asyncio.Event, *work: Coroutine[Any, Any, None]) -> None:
    """Runs endless coroutines side by side until the event is set or one of them fails, then cancels the rest."""
    tasks = [asyncio.create_task(w) for w in work]
    end: asyncio.Task[Any] = asyncio.create_task(stopping.wait())
    try:
        done, _ = await asyncio.wait([*tasks, end], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {end}:
            task.result()
    finally:
        for task in (*tasks, end):
            task.cancel()
        await asyncio.gather(*tasks, end, return_exceptions=True)


async def drained(seconds: float, *farewells: Awaitable[object]) -> None:
    """Awaits the good-byes for at most so long."""
    try:
        async with asyncio.timeout(seconds):
            await asyncio.gather(*farewells)
    except TimeoutError:
        log.warning("drain cut short", seconds=seconds)
