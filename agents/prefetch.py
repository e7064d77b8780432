"""Images that the host is asked to have before a guest needs them."""

import asyncio
from typing import Final, Literal

from agents.drivers.base import Driver
from schemas.guest import ImageGrant

WAIT_SECONDS: Final = 5.0
"""shorter than who asks waits for an answer"""


class Prefetch:
    """Who asks is told how far it is and asks again; what is under way goes on meanwhile."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._fetching: dict[str, asyncio.Task[None]] = {}
        """by digest"""

    async def ask(self, image: ImageGrant) -> Literal["cached", "fetching"]:
        """Raises what made the fetch fail: the next to ask begins another."""
        task = self._fetching.get(image.digest)
        if task is None:
            task = asyncio.create_task(self._driver.cache_image(image), name=f"prefetch {image.id}")
            self._fetching[image.digest] = task
        if not (await asyncio.wait([task], timeout=WAIT_SECONDS))[0]:
            return "fetching"
        if self._fetching.get(image.digest) is task:
            del self._fetching[image.digest]
        task.result()
        return "cached"

    async def close(self) -> None:
        tasks = list(self._fetching.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
