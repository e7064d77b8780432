"""Images asked for ahead: fetched once however often they are asked for, and told how far they are."""

import asyncio

import pytest
from attrs import define, field

from agents import prefetch
from agents.drivers.simulated import SimulatedDriver
from agents.prefetch import Prefetch
from schemas.errors import ImageUnusable
from schemas.guest import ImageGrant

IMAGE = ImageGrant("i", "sha256:" + "1" * 64, 1, "raw", "http://images.example/i")


@define(eq=False)
class Slow(SimulatedDriver):
    """Fetches until it is let go on."""

    go: asyncio.Event = field(factory=asyncio.Event)
    fetches: int = 0

    def __attrs_pre_init__(self) -> None:
        super().__init__("h1")

    async def cache_image(self, image: ImageGrant) -> None:
        self.fetches += 1
        await self.go.wait()
        await super().cache_image(image)


async def test_who_asks_while_it_is_fetched_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "WAIT_SECONDS", 0.01)
    driver = Slow()
    asked = Prefetch(driver)
    assert [await asked.ask(IMAGE) for _ in range(3)] == ["fetching"] * 3
    driver.go.set()
    monkeypatch.setattr(prefetch, "WAIT_SECONDS", 5)
    assert await asked.ask(IMAGE) == "cached"
    assert driver.fetches == 1
    assert IMAGE.digest in driver.hypervisor.cached_images


async def test_what_failed_is_told_and_tried_again_when_asked_again() -> None:
    driver = Slow()
    driver.go.set()
    driver.hypervisor.unusable_images.add(IMAGE.digest)
    asked = Prefetch(driver)
    with pytest.raises(ImageUnusable):
        await asked.ask(IMAGE)
    driver.hypervisor.unusable_images.clear()
    assert await asked.ask(IMAGE) == "cached"
    assert driver.fetches == 2


async def test_the_end_takes_what_is_under_way_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "WAIT_SECONDS", 0.01)
    driver = Slow()
    asked = Prefetch(driver)
    assert await asked.ask(IMAGE) == "fetching"
    await asked.close()
    driver.go.set()
    assert driver.hypervisor.cached_images == set()
