"""How long the event loop is held: what one request costs all others."""

import asyncio
import time
from typing import Final

from prometheus_client import Gauge, Histogram

TICK_SECONDS: Final = 0.02

HELD: Final = Histogram(
    "kilonova_loop_held_seconds",
    "Seconds of own CPU by which a tick of 20 ms of the event loop was late",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
LONGEST: Final = Gauge("kilonova_loop_held_longest_seconds", "The longest of them since the process began")


async def watch_loop() -> None:
    """Until cancelled. Counts only CPU of the loop's own thread: that a busy machine gives it none is no fault of its
    callbacks. A hold is measured short by up to a tick."""
    longest = 0.0
    while True:
        due, spent = time.monotonic() + TICK_SECONDS, time.thread_time()
        await asyncio.sleep(TICK_SECONDS)
        held = max(0.0, min(time.monotonic() - due, time.thread_time() - spent))
        HELD.observe(held)
        if held > longest:
            longest = held
            LONGEST.set(held)
