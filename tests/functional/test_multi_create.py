"""A request for more servers than one transaction holds is charged at once and written by the owner of its parent."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from substrate import eventually, map_site
from thread_site import PERSON, TINY, Host, Site, running_site, written

from control.servers.create import ServerDraft, create_servers
from control.servers.lists import list_servers
from kv.keys import Global
from schemas.context import REQUEST_ID
from schemas.errors import QuotaExceeded
from schemas.quota import QuotaUsage
from schemas.settings import BusSettings, StoreSettings

COUNT = 50


@pytest.fixture
async def site(store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path) -> AsyncIterator[Site]:
    settings = await map_site(store_settings, bus_settings, tmp_path)
    async with running_site(settings, Host("h1")) as site:
        await site.limit(instances=COUNT, cores=-1, ram=-1)
        yield site


async def servers_there(site: Site) -> int:
    return await site.top.store.count(Global.INSTANCES.under())


async def test_all_are_charged_with_the_answer_and_written_by_whoever_owns_the_rest(site: Site) -> None:
    await site.stop("super")
    before = written().get("expand", (0, 0))[0]
    uuids = await site.create_many(min_count=2, max_count=COUNT + 7)
    assert len(uuids) == COUNT
    assert await site.used() == QuotaUsage(COUNT, COUNT, COUNT * 512)
    assert await servers_there(site) == 20
    with pytest.raises(QuotaExceeded):
        await site.create()

    await site.start("super")
    for uuid in uuids:
        await site.at_rest(uuid, "active", 60)
    assert written()["expand"][0] - before == 2
    listed = await list_servers(site.top, project=PERSON.project, limit=99)
    assert [f.instance.uuid for f in listed] == list(reversed(uuids))
    assert [f.instance.name for f in listed] == [f"web-{n}" for n in range(COUNT, 0, -1)]
    assert {f.instance.launch_index for f in listed} == set(range(COUNT))
    assert len({f.instance.reservation for f in listed}) == 1
    assert await site.top.store.count(Global.OPERATIONS.under()) == 0
    assert await site.used() == QuotaUsage(COUNT, COUNT, COUNT * 512)


async def test_none_is_made_when_the_least_number_does_not_fit(site: Site) -> None:
    with pytest.raises(QuotaExceeded, match=f"Requested {COUNT + 1}, but already used 0 of {COUNT} instances"):
        await site.create_many(min_count=COUNT + 1, max_count=COUNT + 1)
    assert await servers_there(site) == 0
    assert await site.used() == QuotaUsage()


async def test_large_user_data_goes_in_smaller_parts(site: Site) -> None:
    """Twenty times the largest user data is more than etcd takes in one request."""
    REQUEST_ID.set(f"req-{uuid4()}")
    draft = ServerDraft("web", TINY, None, min_count=20, max_count=20, user_data="x" * 65535)
    _, servers = await create_servers(site.top, PERSON, draft)
    assert len(servers) == 20

    async def all_there() -> bool:
        return await servers_there(site) == 20

    await eventually(all_there, 30)
    for server in servers:
        await site.at_rest(server.uuid, "active", 60)
