"""A boot that waited for longer than its leave to fetch the image holds gets another from the top."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from attrs import evolve
from substrate import eventually, map_site
from thread_site import TINY, Host, Site, running_site

from agents.drivers.simulated import SimulatedDriver
from control.servers.history import list_actions
from kv.keys import Cell
from kv.txn import Stored, Txn
from runtime import ambient
from schemas.guest import GuestSpec, GuestState
from schemas.image import Image
from schemas.operation import Operation
from schemas.settings import BusSettings, StoreSettings
from schemas.shards import shard_of

NOW = ambient.now()
IMAGE = Image("i1", "tiny", "p1", NOW, NOW, "active", size=1, disk_format="raw", digest="sha256:" + "0" * 64)


@pytest.fixture
async def site(store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path) -> AsyncIterator[Site]:
    settings = await map_site(store_settings, bus_settings, tmp_path)
    async with running_site(settings, Host("h1")) as site:
        yield site


@pytest.fixture
def urls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of the spawns that a driver was asked for."""
    seen: list[str] = []
    spawn = SimulatedDriver.spawn

    async def spied(self: SimulatedDriver, spec: GuestSpec) -> GuestState:
        assert spec.image
        seen.append(spec.image.url)
        return await spawn(self, spec)

    monkeypatch.setattr(SimulatedDriver, "spawn", spied)
    return seen


async def boot_with_stale_leave(site: Site) -> tuple[str, str]:
    """The server, and its first URL: its cell's conductor was away for so long that it has run out."""
    await site.stop("conductor")
    uuid = await site.create(TINY, image=IMAGE)
    cell, key = site.stores["cell1"], Cell.OPERATIONS(shard_of(uuid), uuid)

    async def handed_over() -> Stored[Operation] | None:
        found = await site.find(uuid)
        return await cell.get(key) if found and found.mapping.cell else None

    boot = await eventually(handed_over, 30)
    assert boot
    url, expires = boot.value.inputs["image_url"] + "&stale", boot.value.inputs["image_expires"]
    assert expires > ambient.now().timestamp() + 1800
    stale = evolve(boot.value, inputs={"image_url": url, "image_expires": ambient.now().timestamp() - 1})
    await cell.commit(Txn("long ago").replace(boot, stale))
    return uuid, url


async def test_it_is_renewed_before_the_host_is_told(site: Site, urls: list[str]) -> None:
    uuid, first = await boot_with_stale_leave(site)
    await site.start("conductor")
    found = await site.at_rest(uuid, "active", 60)
    assert len(urls) == 1
    assert urls[0] != first
    assert urls[0].split("?")[0] == first.split("?")[0]
    (action,) = await list_actions(site.top, found)
    story = " ".join(line.text for line in action.story)
    assert "asked for another" in story
    assert "renewed" in story
    await site.delete(uuid)
    await site.gone(uuid, seconds=60)
    await site.books_are_empty()


async def test_a_delete_does_not_wait_for_it(site: Site, urls: list[str]) -> None:
    uuid, _ = await boot_with_stale_leave(site)
    await site.stop("super")
    await site.start("conductor")
    cell = site.stores["cell1"]
    await eventually(lambda: cell.count(Cell.OUTBOX.under()), 30)
    await site.delete(uuid)
    await eventually(lambda: has_left(site, uuid), 30)
    await site.start("super")
    await site.gone(uuid, seconds=60)
    await site.books_are_empty()
    assert urls == []


async def has_left(site: Site, uuid: str) -> bool:
    return await site.find(uuid) is None


async def test_a_build_is_given_back_when_none_comes_in_time(site: Site) -> None:
    uuid, _ = await boot_with_stale_leave(site)
    await site.stop("super")
    site.settings = evolve(site.settings, conductor=evolve(site.settings.conductor, spawn_timeout=1.0))
    await site.start("conductor")
    cell, key = site.stores["cell1"], Cell.OPERATIONS(shard_of(uuid), uuid)

    async def given_back() -> bool:
        stored = await cell.get(key)
        return stored is not None and stored.value.step == "returning"

    await eventually(given_back, 60)
    await site.start("super")
    found = await site.until(uuid, lambda f: f.instance.task_state is None and f.mapping.cell is not None, 60)
    assert found.mapping.attempt == 2
    await site.delete(uuid)
    await site.gone(uuid, seconds=60)
    await site.books_are_empty()
