"""Images on hosts ahead of servers: each host of the request has them, whoever dies meanwhile."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from substrate import eventually, map_site
from thread_site import HASTY, PERSON, Host, Site, running_site

from control.servers.precache import cache_images
from kv.keys import Global
from kv.txn import Txn
from schemas.image import Image
from schemas.settings import BusSettings, StoreSettings


@pytest.fixture
async def site(store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path) -> AsyncIterator[Site]:
    settings = await map_site(store_settings, bus_settings, tmp_path)
    async with running_site(settings, Host("h1"), Host("h2"), conductor=HASTY) as site:
        yield site


async def image(site: Site, digit: str, status: str = "active") -> Image:
    now = datetime.now(UTC)
    made = Image(str(uuid4()), "i", "p1", now, now, status=status, size=1, digest="sha256:" + digit * 64)  # type: ignore[arg-type]
    await site.top.store.commit(Txn("image").create(Global.IMAGES(made.id), made))
    return made


async def want(site: Site, *images: Image) -> None:
    hosts = [stored.value for stored in await site.top.store.range(Global.HOSTS.under())]
    await cache_images(site.top, PERSON, hosts, [one.id for one in images])


async def settled(site: Site) -> None:
    async def none_left() -> bool:
        return await site.top.store.count(Global.OPERATIONS.under()) == 0

    await eventually(none_left)


async def test_every_host_has_what_can_be_had(site: Site) -> None:
    good, more, broken, queued = [
        await image(site, "1"),
        await image(site, "2"),
        await image(site, "3"),
        await image(site, "4", "queued"),
    ]
    for host in site.hosts.values():
        host.hypervisor.unusable_images.add(str(broken.digest))
    await want(site, broken, good, queued, more)
    await settled(site)
    for host in site.hosts.values():
        assert host.hypervisor.cached_images == {good.digest, more.digest}


async def test_a_host_that_comes_late_and_a_conductor_that_dies(site: Site) -> None:
    wanted = await image(site, "1")
    await site.stop("h2")
    await want(site, wanted)
    await eventually(lambda: bool(site.hosts["h1"].hypervisor.cached_images))
    await site.stop("super")
    await site.start("super", "h2")
    await settled(site)
    assert site.hosts["h2"].hypervisor.cached_images == {wanted.digest}
