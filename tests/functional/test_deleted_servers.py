"""What remains of a deleted server, and for how long."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from attrs import evolve
from substrate import map_site
from thread_site import PERSON, Host, Site, running_site

from control.conductor.cell.reaper import Reaper
from control.servers.find import find_deleted
from control.servers.history import list_actions
from kv.keys import Cell
from runtime import ambient
from schemas.errors import NotFound
from schemas.settings import BusSettings, StoreSettings
from schemas.shards import SHARDS

EVERY_SHARD = SimpleNamespace(fences=dict.fromkeys(range(SHARDS)), guard=lambda txn, _: txn)


@pytest.fixture
async def site(store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path) -> AsyncIterator[Site]:
    settings = await map_site(store_settings, bus_settings, tmp_path)
    async with running_site(settings, Host("h1")) as site:
        yield site


async def test_its_history_can_be_read_by_its_project_alone(site: Site) -> None:
    uuid = await site.create()
    await site.at_rest(uuid, "active")
    await site.delete(uuid)
    await site.gone(uuid)
    found = await find_deleted(site.top, PERSON, uuid)
    assert (found.instance.vm_state, found.instance.task_state) == ("deleted", None)
    assert [a.action for a in await list_actions(site.top, found)] == ["delete", "create"]
    with pytest.raises(NotFound):
        await find_deleted(site.top, evolve(PERSON, project="another"), uuid)


async def test_it_is_forgotten_when_it_was_kept_for_long_enough(site: Site) -> None:
    uuid = await site.create()
    await site.at_rest(uuid, "active")
    await site.delete(uuid)
    await site.gone(uuid)
    store, today = site.stores["cell1"], ambient.now().date()
    kept = site.top.settings.conductor.deleted_days
    reaper = Reaper(store, cast(Any, EVERY_SHARD), kept)
    assert await reaper.reap(today + timedelta(days=kept)) == 0
    assert await reaper.reap(today + timedelta(days=kept + 1)) == 1
    assert await store.paths(Cell.DELETED.under()) == []
    assert await store.paths(Cell.ACTIONS.under()) == []
