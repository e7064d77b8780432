"""What remains of a deleted server, and for how long."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from attrs import evolve
from substrate import eventually, map_site
from thread_site import PERSON, TINY, Host, Site, running_site
from unit_records import NOW, UUID, instance

from control.conductor import reaper
from control.conductor.reaper import Reaper
from control.servers.find import find_deleted
from control.servers.history import list_actions
from kv.keys import Cell
from kv.txn import Txn
from runtime import ambient
from schemas.codec import to_dict
from schemas.errors import NotFound
from schemas.flavor import Flavor
from schemas.operation import Deleted
from schemas.settings import BusSettings, StoreSettings
from schemas.shards import SHARDS

HUGE = Flavor("9", "huge", vcpus=4096, memory_mb=64, root_gb=1)


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


@pytest.mark.parametrize(("cell", "flavor"), [("cell1", TINY), ("cell0", HUGE)])
async def test_it_is_forgotten_when_it_was_kept_for_long_enough(site: Site, cell: str, flavor: Flavor) -> None:
    await site.limit(cores=-1)
    uuid = await site.create(flavor)
    await site.until(uuid, lambda f: f.cell == cell and f.instance.task_state is None)
    await site.delete(uuid)
    await site.gone(uuid)
    store, today = site.stores[cell], ambient.now().date()
    kept = site.top.settings.conductor.deleted_days
    reaping = Reaper(lambda: store, range(SHARDS), lambda _, txn: store.commit(txn), kept)
    assert await store.paths(Cell.ACTIONS.under())
    assert await reaping.reap(today + timedelta(days=kept)) == 0
    assert await reaping.reap(today + timedelta(days=kept + 1)) == 1
    assert await store.paths(Cell.DELETED.under()) == []
    assert await store.paths(Cell.DELETED_OF.under()) == []
    assert await store.paths(Cell.ACTIONS.under()) == []


async def test_every_conductor_reaps_its_own_shards_those_of_cell0_too(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cell0 has no conductor: its deleted servers were kept for ever."""
    monkeypatch.setattr(reaper, "EVERY_SECONDS", 0.2)
    await site.stop("super", "conductor")
    long_ago = "2020-01-01"
    for store in (site.stores["cell0"], site.stores["cell1"]):
        for number in range(5):
            server = instance(uuid=f"{number}{UUID[1:]}")
            gone = Deleted(to_dict(server), NOW)
            await store.commit(Txn("long ago").put(Cell.DELETED(long_ago, server.uuid), gone))
    await site.start("super", "conductor")

    async def reaped() -> bool:
        return not [p for name in ("cell0", "cell1") for p in await site.stores[name].paths(Cell.DELETED.under())]

    await eventually(reaped, 30)
