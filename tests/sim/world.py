"""Virtual time, ids and chance of one seed, in place of the machine's."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final
from uuid import UUID

from kv import windows
from runtime import ambient
from tests.sim.loop import PROCESS, VirtualLoop

EPOCH: Final = datetime(2030, 1, 1, tzinfo=UTC)


def now(loop: VirtualLoop) -> datetime:
    """What the wall clock of the running process shows."""
    process = PROCESS.get()
    return EPOCH + timedelta(seconds=loop.time() + (process.skew if process else 0.0))


@contextmanager
def world(seed: int) -> Iterator[tuple[VirtualLoop, Random]]:
    """A loop on virtual time and all the chance of the seed; the ambient is put back afterwards."""
    random = Random(seed)
    windows.forget()
    loop = VirtualLoop()
    loop.set_exception_handler(lambda *_: None)
    before = ambient.replace_ambient(
        ambient.Ambient(
            clock=lambda: now(loop),
            uuids=lambda: str(UUID(int=random.getrandbits(128), version=4)),
            chance=random.random,
        )
    )
    unraisable, sys.unraisablehook = sys.unraisablehook, lambda _: None  # of a dead process's coroutines
    asyncio.set_event_loop(loop)
    try:
        yield loop, random
    finally:
        ambient.replace_ambient(before)
        asyncio.set_event_loop(None)
        loop.abandon()
        sys.unraisablehook = unraisable
