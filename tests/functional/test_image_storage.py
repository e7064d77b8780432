"""Where images' bytes go wrong: staged and forgotten, a full object store, NATS gone in the middle."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from attrs import evolve
from sites import Site, open_site
from substrate import NatsServer, eventually, running_nats

import bus.objects
from bus.objects import Objects
from control.images.app import open_blobs
from kv.keys import Global
from kv.txn import Txn
from schemas.image import Waste
from schemas.settings import ApiSettings, BusSettings, StoreSettings
from tests.functional.test_images import LONG_AGO, Client, blob_of, qcow2, waste_of


@pytest.fixture
async def site(store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(store_settings, bus_settings, tmp_path) as site:
        yield site


@pytest.fixture
async def demo(site: Site) -> Client:
    return Client(site, await site.token("demo", "demo", "demo"))


async def stage(demo: Client, image: dict[str, Any], data: bytes) -> httpx.Response:
    octets = {"Content-Type": "application/octet-stream"}
    return await demo.do("PUT", f"images/{image['id']}/stage", content=data, headers=octets)


async def import_(demo: Client, image: dict[str, Any], method: str = "glance-direct") -> httpx.Response:
    return await demo.do("POST", f"images/{image['id']}/import", json={"method": {"name": method}})


async def test_an_import_in_two_steps(demo: Client, site: Site) -> None:
    data, image = os.urandom(300_000), await demo.create()
    early = await import_(demo, image)
    assert (early.status_code, "needs to be staged" in early.json()["message"]) == (409, True)
    assert (await stage(demo, image, data)).status_code == 204
    assert (await demo.show(image))["status"] == "uploading"
    assert (await stage(demo, image, data)).status_code == 409
    assert (await demo.upload(image, data)).status_code == 409
    assert (await demo.do("GET", f"images/{image['id']}/file")).status_code == 204
    other = await import_(demo, image, "web-download")
    assert (other.status_code, "Unknown import method name 'web-download'." in other.text) == (400, True)
    assert (await import_(demo, image)).status_code == 202
    shown = await demo.show(image)
    assert (shown["status"], shown["size"], shown["stores"]) == ("active", len(data), "objects")
    assert (await demo.do("GET", f"images/{image['id']}/file")).content == data
    assert await waste_of(site) == []


async def test_two_imports_of_the_same_bytes_share_them(demo: Client, site: Site) -> None:
    data = os.urandom(200_000)
    first, second = await demo.create(), await demo.create()
    for image in (first, second):
        await stage(demo, image, data)
    assert len(await waste_of(site)) == 2
    assert {r.status_code for r in await asyncio.gather(import_(demo, first), import_(demo, second))} == {202}
    blob = await blob_of(site, data)
    assert blob
    assert blob.images == {first["id"], second["id"]}
    assert await waste_of(site) == []


async def test_staged_bytes_of_another_format_are_refused_at_the_import(demo: Client, site: Site) -> None:
    image = await demo.create(disk_format="qcow2")
    assert (await stage(demo, image, bytes(1000))).status_code == 204
    answer = await import_(demo, image)
    assert (answer.status_code, "the data is not" in answer.json()["message"]) == (400, True)
    assert (await demo.show(image))["status"] == "queued"
    assert await waste_of(site) == []
    assert (await stage(demo, image, qcow2(1 << 30))).status_code == 204
    assert (await import_(demo, image)).status_code == 202
    assert (await demo.show(image))["virtual_size"] == 1 << 30


async def test_staged_bytes_that_nobody_imports_are_removed(demo: Client, site: Site) -> None:
    image = await demo.create()
    await stage(demo, image, os.urandom(1000))
    (waste,) = await site.top.store.range(Global.WASTE.under())
    await open_blobs(site.top).sweep()
    assert (await demo.show(image))["status"] == "uploading", "it has its day"
    await site.top.store.commit(Txn("test").replace(waste, evolve(waste.value, until=LONG_AGO)))
    await open_blobs(site.top).sweep()
    assert (await demo.show(image))["status"] == "queued"
    assert await open_blobs(site.top).objects.info(waste.value.object) is None
    assert await waste_of(site) == []
    assert (await demo.upload(image, b"bytes")).status_code == 204


async def test_an_image_that_is_deleted_while_staged_leaves_its_bytes_to_the_sweep(demo: Client, site: Site) -> None:
    image = await demo.create()
    await stage(demo, image, os.urandom(1000))
    assert (await demo.do("DELETE", f"images/{image['id']}")).status_code == 204
    (waste,) = await site.top.store.range(Global.WASTE.under())
    await site.top.store.commit(Txn("test").replace(waste, evolve(waste.value, until=LONG_AGO)))
    await open_blobs(site.top).sweep()
    assert await open_blobs(site.top).objects.info(waste.value.object) is None


async def test_a_full_object_store_is_said_and_leaves_nothing(store_settings: StoreSettings, tmp_path: Path) -> None:
    """Of 2 MiB, that is; what was there stays good, and what is removed makes room."""
    api = ApiSettings(public_url="http://api", image_store_gb=2 / 1024)
    with running_nats(tmp_path / "nats") as url:
        async with open_site(store_settings, BusSettings(url), tmp_path, api) as site:
            demo = Client(site, await site.token("demo", "demo", "demo"))
            data = os.urandom(1_200_000)
            first, second = await demo.create(), await demo.create()
            assert (await demo.upload(first, data)).status_code == 204
            full = await demo.upload(second, os.urandom(1_200_000))
            assert full.status_code == 413
            assert full.json()["message"].startswith("Image storage media is full")
            assert (await demo.show(second))["status"] == "queued"
            await open_blobs(site.top).sweep()
            assert await waste_of(site) == []
            assert (await demo.do("GET", f"images/{first['id']}/file")).content == data
            await demo.do("DELETE", f"images/{first['id']}")
            assert (await demo.upload(second, os.urandom(1_200_000))).status_code == 204


async def test_the_bucket_follows_the_settings(store_settings: StoreSettings, tmp_path: Path) -> None:
    with running_nats(tmp_path / "nats") as url:
        for limit in (0.0, 1.0, 2.0):
            api = ApiSettings(public_url="http://api", image_store_gb=limit)
            async with open_site(store_settings, BusSettings(url), tmp_path, api) as site:
                demo = Client(site, await site.token("demo", "demo", "demo"))
                assert (await demo.upload(await demo.create(), os.urandom(100))).status_code == 204
                info = await site.top.bus.client.jetstream().stream_info("OBJ_images")
                assert info.config.max_bytes == (int(limit * (1 << 30)) or -1)


async def test_nats_that_dies_during_an_upload_is_a_503_and_leaves_nothing(
    store_settings: StoreSettings, fragile_nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus.objects, "ANSWER_SECONDS", 1.0)
    put = Objects.put

    async def put_and_kill(self: Objects, name: str, source: Any) -> Any:
        fragile_nats.kill()
        return await put(self, name, source)

    async with open_site(store_settings, BusSettings(fragile_nats.url), tmp_path) as site:
        demo = Client(site, await site.token("demo", "demo", "demo"))
        image, other, data = await demo.create(), await demo.create(), os.urandom(3_000_000)
        assert (await demo.upload(other, b"other bytes")).status_code == 204
        monkeypatch.setattr(Objects, "put", put_and_kill)
        answer = await demo.upload(image, data)
        assert answer.status_code == 503
        assert "object store" in answer.json()["message"]
        monkeypatch.setattr(Objects, "put", put)
        await eventually(lambda: not site.top.bus.connected)
        down = await demo.do("GET", f"images/{other['id']}/file")
        assert (down.status_code, "object store" in down.json()["message"]) == (503, True)
        early = await demo.upload(image, data)
        assert (early.status_code, (await demo.show(image))["status"]) == (503, "queued")
        fragile_nats.start()
        await eventually(lambda: site.top.bus.connected, 30)
        await open_blobs(site.top).sweep()
        assert await waste_of(site) == []
        assert (await demo.upload(image, data)).status_code == 204
        assert (await demo.do("GET", f"images/{other['id']}/file")).content == b"other bytes"


async def test_ranges(demo: Client) -> None:
    data, image = os.urandom(600_000), await demo.create()
    await demo.upload(image, data)

    async def fetch(wanted: str) -> httpx.Response:
        return await demo.do("GET", f"images/{image['id']}/file", headers={"Range": wanted})

    for wanted, start, end in (
        ("bytes=0-9", 0, 10),
        ("bytes=262143-262145", 262_143, 262_146),
        ("bytes=599990-", 599_990, 600_000),
        ("bytes=-5", 599_995, 600_000),
        ("bytes=0-999999999", 0, 600_000),
    ):
        part = await fetch(wanted)
        assert (part.status_code, part.content == data[start:end]) == (206, True), wanted
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/600000"
        assert "content-md5" not in part.headers
    for wanted in ("bytes=600000-", "bytes=5-4", "bytes=-0", "bytes=0-1,4-5", "lines=1-2", "bytes=-"):
        assert (await fetch(wanted)).status_code == 416, wanted


async def test_an_image_of_no_bytes_is_active_and_gives_204(demo: Client) -> None:
    image = await demo.create()
    assert (await demo.upload(image, b"")).status_code == 204
    shown = await demo.show(image)
    assert (shown["status"], shown["size"]) == ("active", 0)
    assert shown["checksum"] == hashlib.md5(b"").hexdigest()
    assert (await demo.do("GET", f"images/{image['id']}/file")).status_code == 204


async def test_what_nobody_waits_for_is_swept_once(site: Site) -> None:
    """Many processes sweep: what is gone already is no error."""
    store = site.top.store
    for number in range(3):
        await store.commit(Txn("test").create(Global.WASTE(f"w{number}"), Waste(f"w{number}", "nobody", LONG_AGO)))
    await asyncio.gather(*(open_blobs(site.top).sweep() for _ in range(3)))
    await open_blobs(site.top).sweep()
    assert await waste_of(site) == []
