"""Images on a real etcd and JetStream: active only with good bytes, seen by whom they are for, gone without a trace."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psutil
import pytest
from attrs import evolve
from image_client import Client, qcow2
from ports import free_port
from sites import Site, open_site
from substrate import eventually, running_nats

from bus.objects import Objects
from control.identity.accounts import ROLES, find_by_name, revoke
from control.images.app import open_blobs
from control.images.blobs import BUCKET, Blobs
from control.images.grants import Grants
from kv.keys import Global
from kv.txn import Txn
from schemas.host import CellMapping, StoreAddress
from schemas.image import Blob, Image, Waste
from schemas.settings import ApiSettings, BusSettings, StoreSettings

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
async def site(store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(store_settings, bus_settings, tmp_path) as site:
        yield site


@pytest.fixture
async def admin(site: Site) -> Client:
    return Client(site, await site.token("admin", "secret", "admin"))


@pytest.fixture
async def demo(site: Site) -> Client:
    return Client(site, await site.token("demo", "demo", "demo"))


def blobs_of(site: Site) -> Blobs:
    return open_blobs(site.top)


async def blob_of(site: Site, data: bytes) -> Blob | None:
    stored = await site.top.store.get(Global.BLOBS(hashlib.sha256(data).hexdigest()))
    return stored.value if stored else None


async def waste_of(site: Site) -> list[Waste]:
    return [stored.value for stored in await site.top.store.range(Global.WASTE.under())]


async def test_the_life_of_an_image(demo: Client, site: Site) -> None:
    data = os.urandom(700_001)
    image = await demo.create(name="disk", hw_machine_type="q35", tags=["b", "a"])
    assert image["status"] == "queued"
    assert image["visibility"] == "shared"
    assert image["hw_machine_type"] == "q35"
    assert (await demo.do("GET", f"images/{image['id']}/file")).status_code == 204
    assert (await demo.upload(image, data)).status_code == 204
    shown = await demo.show(image)
    assert shown["status"] == "active"
    assert shown["size"] == shown["virtual_size"] == len(data)
    assert shown["checksum"] == hashlib.md5(data).hexdigest()
    assert (shown["os_hash_algo"], shown["os_hash_value"]) == ("sha512", hashlib.sha512(data).hexdigest())
    assert shown["tags"] == ["a", "b"]
    assert shown["file"] == f"/v2/images/{image['id']}/file"
    down = await demo.do("GET", f"images/{image['id']}/file")
    assert down.content == data
    assert down.headers["content-md5"] == shown["checksum"]
    assert int(down.headers["content-length"]) == len(data)
    assert (await demo.upload(image, data)).status_code == 409
    assert (await demo.do("DELETE", f"images/{image['id']}")).status_code == 204
    gone = await demo.do("GET", f"images/{image['id']}")
    assert gone.status_code == 404
    assert gone.json()["code"] == "404 Not Found"
    assert gone.json()["message"].startswith(f"No image found with ID {image['id']}")
    assert await blob_of(site, data) is None
    assert await waste_of(site) == []


async def test_images_of_one_digest_share_bytes_until_the_last_is_gone(demo: Client, site: Site) -> None:
    data = os.urandom(300_000)
    first, second = await demo.create(), await demo.create()
    await asyncio.gather(demo.upload(first, data), demo.upload(second, data))
    blob = await blob_of(site, data)
    assert blob
    assert blob.images == {first["id"], second["id"]}
    assert await waste_of(site) == []
    await demo.do("DELETE", f"images/{first['id']}")
    assert (await demo.do("GET", f"images/{second['id']}/file")).content == data
    await demo.do("DELETE", f"images/{second['id']}")
    assert await blobs_of(site).objects.info(blob.object) is None


async def test_bytes_that_differ_when_read_back_make_no_active_image(
    demo: Client, monkeypatch: pytest.MonkeyPatch, site: Site
) -> None:
    """The store confirms every chunk and yet keeps another one."""
    put = Objects.put

    async def put_and_corrupt(self: Objects, name: str, source: Any) -> Any:
        return await put(self, name, BytesIO(b"rotten" + source.read()[6:]))

    monkeypatch.setattr(Objects, "put", put_and_corrupt)
    image = await demo.create()
    answer = await demo.upload(image, os.urandom(400_000))
    assert answer.status_code == 503
    assert "differ when read back" in answer.json()["message"]
    assert (await demo.show(image))["status"] == "queued"
    assert await waste_of(site) == []
    monkeypatch.undo()
    assert (await demo.upload(image, b"good bytes")).status_code == 204


async def test_missing_chunks_are_found_and_the_next_upload_heals_all(demo: Client, site: Site) -> None:
    """A truncated object serves nobody; an upload of the same bytes gives them back to every image of that digest."""
    data = os.urandom(600_000)
    first, second = await demo.create(), await demo.create()
    await demo.upload(first, data)
    blob = await blob_of(site, data)
    assert blob
    objects = blobs_of(site).objects
    stream = f"OBJ_{BUCKET}"
    js = site.top.bus.client.jetstream()
    last = await js.get_last_msg(stream, f"$O.{BUCKET}.C.{blob.object}")
    await js.delete_msg(stream, last.seq)
    assert not await blobs_of(site).verified(blob.object, hashlib.sha256(data).hexdigest())
    assert (await demo.upload(second, data)).status_code == 204
    healed = await blob_of(site, data)
    assert healed
    assert healed.images == {first["id"], second["id"]}
    assert healed.object != blob.object
    assert (await demo.do("GET", f"images/{first['id']}/file")).content == data
    await blobs_of(site).sweep()
    assert await objects.info(blob.object) is None
    assert (await demo.do("GET", f"images/{first['id']}/file")).content == data


async def test_an_upload_that_died_leaves_the_image_queued_and_no_bytes(demo: Client, site: Site) -> None:
    """The process was killed between the object and the activation: only records are left to say so."""
    image = await demo.create()
    name = f"{'0' * 64}-dead"
    store = site.top.store
    stored = await store.get(Global.IMAGES(image["id"]))
    assert stored
    await store.commit(Txn("test").replace(stored, evolve(stored.value, status="saving", upload=name)))
    await store.commit(Txn("test").create(Global.WASTE(name), Waste(name, image["id"], LONG_AGO)))
    blobs = blobs_of(site)
    await blobs.objects.put(name, BytesIO(b"half of it"))
    await asyncio.gather(blobs.sweep(), blobs.sweep())
    await blobs.sweep()
    assert (await demo.show(image))["status"] == "queued"
    assert await blobs.objects.info(name) is None
    assert await waste_of(site) == []
    assert (await demo.upload(image, b"again")).status_code == 204


async def test_an_image_that_is_deleted_during_its_upload_stays_deleted(
    demo: Client, monkeypatch: pytest.MonkeyPatch, site: Site
) -> None:
    put, image = Objects.put, await demo.create()

    async def put_and_delete(self: Objects, name: str, source: Any) -> Any:
        assert (await demo.do("DELETE", f"images/{image['id']}")).status_code == 204
        return await put(self, name, source)

    monkeypatch.setattr(Objects, "put", put_and_delete)
    data = os.urandom(1000)
    assert (await demo.upload(image, data)).status_code == 410
    assert await waste_of(site) == []
    assert await blob_of(site, data) is None


async def test_a_change_during_the_upload_is_kept(demo: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    put, image = Objects.put, await demo.create(name="before")

    async def put_and_rename(self: Objects, name: str, source: Any) -> Any:
        renamed = await demo.patch(image, {"op": "replace", "path": "/name", "value": "after"})
        assert renamed.json()["status"] == "saving"
        return await put(self, name, source)

    monkeypatch.setattr(Objects, "put", put_and_rename)
    assert (await demo.upload(image, b"bytes")).status_code == 204
    shown = await demo.show(image)
    assert (shown["name"], shown["status"]) == ("after", "active")


@pytest.mark.parametrize(
    ("disk_format", "data", "says"),
    [
        ("qcow2", qcow2(1 << 30, backing=512), "backing file"),
        ("qcow2", qcow2(1 << 30, incompatible=4), "another file"),
        ("qcow2", bytes(100), "the data is not"),
        ("raw", qcow2(1 << 30), "the data is qcow2"),
        ("raw", b"KDMV" + bytes(512), "the data is vmdk"),
    ],
    ids=["backing file", "external data", "no qcow2", "qcow2 as raw", "vmdk as raw"],
)
async def test_files_that_a_host_must_not_open_are_refused(
    demo: Client, disk_format: str, data: bytes, says: str
) -> None:
    image = await demo.create(disk_format=disk_format)
    answer = await demo.upload(image, data)
    assert answer.status_code == 400
    assert says in answer.json()["message"]
    assert (await demo.show(image))["status"] == "queued"


async def test_the_virtual_size_is_the_headers(demo: Client) -> None:
    image = await demo.create(disk_format="qcow2")
    assert (await demo.upload(image, qcow2(5 << 30))).status_code == 204
    assert (await demo.show(image))["virtual_size"] == 5 << 30


async def test_an_upload_that_is_too_large_is_cut_off(
    store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path
) -> None:
    api = ApiSettings(public_url="http://api", image_max_gb=1 / 1024)
    async with open_site(store_settings, bus_settings, tmp_path, api) as site:
        demo = Client(site, await site.token("demo", "demo", "demo"))
        image = await demo.create()

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield bytes(65536)

        for body in (bytes(1 + (1 << 20)), endless()):
            answer = await demo.upload(image, body)
            assert answer.status_code == 413
        assert (await demo.upload(image, bytes(1 << 20))).status_code == 204


async def test_others_private_images_do_not_exist(demo: Client, admin: Client) -> None:
    secret = await admin.create(name="secret", visibility="private")
    public = await admin.create(name="for all", visibility="public")
    community = await admin.create(name="known", visibility="community")
    assert (await demo.do("GET", f"images/{secret['id']}")).status_code == 404
    assert (await demo.do("DELETE", f"images/{secret['id']}")).status_code == 404
    assert (await demo.do("GET", f"images/{public['id']}")).status_code == 200
    assert (await demo.do("DELETE", f"images/{public['id']}")).status_code == 403
    assert (await demo.do("GET", f"images/{community['id']}")).status_code == 200

    async def names(**query: str) -> set[str]:
        return {i["name"] for i in (await demo.do("GET", "images", params=query)).json()["images"]}

    assert await names() == {"for all"}
    assert await names(visibility="community") == {"known"}
    assert await names(visibility="all") == {"for all", "known"}
    assert (await demo.do("POST", "images", json={"visibility": "public"})).status_code == 403
    mine = await demo.create()
    made_public = await demo.patch(mine, {"op": "replace", "path": "/visibility", "value": "public"})
    assert made_public.status_code == 403


async def test_readers_look_and_change_nothing(demo: Client, site: Site) -> None:
    image = await demo.create()
    identity = await site.tokens.verify(demo.headers["X-Auth-Token"])
    member = await find_by_name(site.top.store, ROLES, "member")
    assert member
    revision = await revoke(site.top.store, identity.user, identity.project, member.value.id)
    await site.tokens.directory.wait_until(revision)
    assert (await demo.do("GET", f"images/{image['id']}")).status_code == 200
    refused = (
        await demo.do("POST", "images", json={}),
        await demo.upload(image, b"bytes"),
        await demo.patch(image, {"op": "replace", "path": "/name", "value": "x"}),
        await demo.do("DELETE", f"images/{image['id']}"),
    )
    assert {answer.status_code for answer in refused} == {403}


async def test_a_shared_image_is_listed_once_it_was_accepted(demo: Client, admin: Client, site: Site) -> None:
    image = await admin.create(name="shared")
    project = (await site.tokens.verify(demo.headers["X-Auth-Token"])).project
    assert (await demo.do("GET", f"images/{image['id']}")).status_code == 404
    members = f"images/{image['id']}/members"
    added = await admin.do("POST", members, json={"member": project})
    assert added.json()["status"] == "pending"
    assert (await admin.do("POST", members, json={"member": project})).status_code == 409
    assert (await demo.do("GET", f"images/{image['id']}")).status_code == 200
    assert (await demo.do("GET", "images")).json()["images"] == []
    accepted = await demo.do("PUT", f"{members}/{project}", json={"status": "accepted"})
    assert accepted.json()["status"] == "accepted"
    assert [i["name"] for i in (await demo.do("GET", "images")).json()["images"]] == ["shared"]
    assert (await admin.do("DELETE", f"{members}/{project}")).status_code == 204
    assert (await demo.do("GET", f"images/{image['id']}")).status_code == 404


async def test_lists_are_paged_filtered_and_sorted(demo: Client) -> None:
    for number in range(5):
        await demo.create(name=f"i{number}", min_ram=number, tags=["even"] if number % 2 == 0 else [])

    async def names(path: str) -> tuple[list[str], dict[str, Any]]:
        body = (await demo.do("GET", path)).json()
        return [image["name"] for image in body["images"]], body

    first, body = await names("images?limit=2&sort=name:asc")
    assert first == ["i0", "i1"]
    second, body = await names(body["next"].removeprefix("/v2/"))
    assert second == ["i2", "i3"]
    third, body = await names(body["next"].removeprefix("/v2/"))
    assert third == ["i4"]
    assert "next" not in body
    assert (await names("images?name=i3"))[0] == ["i3"]
    assert (await names("images?tag=even&sort_key=name&sort_dir=desc"))[0] == ["i4", "i2", "i0"]
    assert (await names("images"))[0][0] == "i4", "the youngest comes first"
    assert (await demo.do("GET", "images?marker=nothing")).status_code == 400
    assert (await demo.do("GET", "images?limit=x")).status_code == 400


async def test_patches(demo: Client) -> None:
    image = await demo.create(name="a", color="red")
    done = await demo.patch(
        image,
        {"op": "replace", "path": "/name", "value": "b"},
        {"op": "add", "path": "/os_distro", "value": "debian"},
        {"op": "replace", "path": "/color", "value": "blue"},
        {"op": "replace", "path": "/tags", "value": ["y", "x"]},
        {"op": "replace", "path": "/min_disk", "value": 3},
        {"op": "replace", "path": "/protected", "value": True},
    )
    assert done.status_code == 200
    shown = done.json()
    assert (shown["name"], shown["os_distro"], shown["color"]) == ("b", "debian", "blue")
    assert (shown["tags"], shown["min_disk"]) == (["x", "y"], 3)
    assert (await demo.do("DELETE", f"images/{image['id']}")).status_code == 403
    refused = {
        403: [
            {"op": "replace", "path": "/status", "value": "active"},
            {"op": "remove", "path": "/name"},
        ],
        409: [{"op": "replace", "path": "/nothing", "value": "x"}, {"op": "remove", "path": "/nothing"}],
        400: [
            {"op": "replace", "path": "/min_ram", "value": "x"},
            {"op": "move", "path": "/name", "from": "/x"},
            {"op": "add", "path": "/a/b", "value": "x"},
            {"op": "add", "path": "/a", "value": 1},
        ],
    }
    for code, operations in refused.items():
        for operation in operations:
            answer = await demo.patch(image, operation)
            assert answer.status_code == code, operation
    assert (await demo.do("PATCH", f"images/{image['id']}", json=[])).status_code == 415


async def map_cell(site: Site, name: str) -> None:
    mapping = CellMapping(name, str(uuid4()), StoreAddress(("127.0.0.1:1",), f"{name}/"), None)
    await site.top.store.commit(Txn("map cell").create(Global.CELLS(name), mapping))


async def test_a_grant_opens_one_blob_for_a_while(demo: Client, site: Site) -> None:
    data, other = os.urandom(300_000), os.urandom(1000)
    image = await demo.create()
    await demo.upload(image, data)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    grants = Grants(site.tokens.keys, "http://api")
    await map_cell(site, "cell1")
    url = grants.url(digest, "cell1", datetime.now(UTC) + timedelta(minutes=5))
    assert urlsplit(url).path == f"/image/blobs/{digest.removeprefix('sha256:')}"
    answer = await site.http.get(url)
    assert answer.content == data
    assert int(answer.headers["content-length"]) == len(data)
    forged = [
        url.replace("cell=cell1", "cell=cell2"),
        url.replace("sig=", "sig=A"),
        url.partition("?")[0],
        url.replace(digest.removeprefix("sha256:"), hashlib.sha256(other).hexdigest()),
        url.replace("expires=", "expires=9"),
        grants.url(digest, "cell1", datetime.now(UTC) - timedelta(seconds=1)),
        grants.url(digest, "removed", datetime.now(UTC) + timedelta(minutes=5)),
    ]
    for wrong in forged:
        assert (await site.http.get(wrong)).status_code == 403, wrong
    unknown = grants.url(f"sha256:{'0' * 64}", "cell1", datetime.now(UTC) + timedelta(minutes=5))
    assert (await site.http.get(unknown)).status_code == 404


async def test_a_deactivated_image_gives_its_bytes_to_admins_only(demo: Client, admin: Client) -> None:
    image = await demo.create()
    await demo.upload(image, b"bytes")
    path = f"images/{image['id']}"
    assert (await demo.do("POST", f"{path}/actions/deactivate")).status_code == 204
    assert (await demo.show(image))["status"] == "deactivated"
    assert (await demo.do("GET", f"{path}/file")).status_code == 403
    assert (await admin.do("GET", f"{path}/file")).content == b"bytes"
    assert (await demo.do("POST", f"{path}/actions/reactivate")).status_code == 204
    assert (await demo.do("GET", f"{path}/file")).content == b"bytes"


async def test_large_uploads_and_downloads_need_little_memory(demo: Client, site: Site) -> None:
    piece, pieces = os.urandom(1 << 20), 100
    process = psutil.Process()
    image = await demo.create()
    await demo.upload(await demo.create(), piece)  # whatever is loaded on first use
    before, most = process.memory_info().rss, 0

    async def body() -> AsyncIterator[bytes]:
        for _ in range(pieces):
            yield piece

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, process.memory_info().rss)
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    assert (await demo.upload(image, body())).status_code == 204
    blob, chunks = await blobs_of(site).read(f"sha256:{hashlib.sha256(piece * pieces).hexdigest()}")
    watching.cancel()
    assert blob.size == pieces << 20
    await chunks.aclose()
    assert most - before < 40 << 20, f"{(most - before) >> 20} MiB"


async def test_without_jetstream_images_are_a_503_that_says_why(store_settings: StoreSettings, tmp_path: Path) -> None:
    port = free_port()
    with running_nats(tmp_path / "nats", port) as url:
        async with open_site(store_settings, BusSettings(url=url), tmp_path) as site:
            demo = Client(site, await site.token("demo", "demo", "demo"))
            image, late = await demo.create(), await demo.create()
            assert (await demo.upload(image, b"bytes")).status_code == 204
            await lose_nats(site, port)
            for answer in (await demo.upload(late, b"x"), await demo.do("GET", f"images/{image['id']}/file")):
                assert answer.status_code == 503
                assert "object store" in answer.json()["message"]
            assert (await demo.show(late))["status"] == "queued"


async def lose_nats(site: Site, port: int) -> None:
    """Ends the server of this test, by its port's owner."""
    for process in psutil.Process().children():
        if any(c.laddr.port == port for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN):
            process.kill()
    await eventually(lambda: not site.top.bus.connected)


async def test_schemas_and_versions(demo: Client, site: Site) -> None:
    root = await site.http.get("/image/")
    assert root.status_code == 300
    assert root.json()["versions"][0]["links"][0]["href"] == "http://api/image/v2/"
    assert (await demo.do("GET", "schemas/image")).json()["properties"]["name"]
    assert (await demo.do("GET", "schemas/images")).json()["name"] == "images"
    assert (await site.http.get("/image/v2/images")).status_code == 401


def test_records_are_read_back_as_they_were() -> None:
    image = Image(id="x", name=None, owner="p", created=LONG_AGO, updated=LONG_AGO)
    assert (image.status, image.upload, image.members) == ("queued", None, {})
