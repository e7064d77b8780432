"""Tasks that run as long as their process does."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

log = structlog.get_logger()

PAUSE_SECONDS: Final = 1.0
"""before a task that failed begins again"""


async def restarting(run: Callable[[], Awaitable[None]], name: str, pause: float = PAUSE_SECONDS) -> None:
    """Runs it until it returns or is cancelled. An exception is logged and it begins again: nobody awaits such a task,
    so that its end would go unnoticed."""
    while True:
        try:
            await run()
            return
        except Exception:
            log.exception("task failed and begins again", task=name)
            await asyncio.sleep(pause)
