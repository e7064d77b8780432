"""An API that is killed in the middle of an upload, and keys that rotate under tokens."""

import asyncio
import os
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest
from attrs import evolve
from substrate import eventually

from control.images.app import open_blobs
from control.manage.keys import list_keys, remove_key
from control.top import open_top
from kv.keys import Global
from kv.txn import Txn
from runtime.settings import load_settings
from schemas.errors import Conflict
from tests.e2e.live import Api, Cloud, command, running_api
from tests.functional.test_images import LONG_AGO


@pytest.fixture(scope="module")
def api(etcd_endpoint: str, nats_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_api(etcd_endpoint, nats_url, tmp_path_factory.mktemp("killed")) as api:
        yield api


class Images:
    """Raw HTTP, for what no client does on purpose."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.token = Cloud(api.url).json("token", "issue")["id"]

    def do(self, method: str, path: str, **more: object) -> httpx.Response:
        headers = {"X-Auth-Token": self.token, "Content-Type": "application/octet-stream", "Accept": "application/json"}
        with httpx.Client(base_url=f"{self.api.url}/image/v2", headers=headers, timeout=60, trust_env=False) as http:
            return http.request(method, path, **more)  # type: ignore[arg-type]  # whatever httpx takes

    def create(self) -> str:
        body = {"disk_format": "raw", "container_format": "bare"}
        made = self.do("POST", "images", json=body, headers={"Content-Type": "application/json"})
        assert made.status_code == 201, made.text
        return str(made.json()["id"])

    def status(self, image: str) -> str:
        return str(self.do("GET", f"images/{image}").json()["status"])


async def test_an_api_that_dies_during_uploads_leaves_nothing(api: Api) -> None:
    """One that still came in, one that was being stored: the first is queued at once, the second when it is swept."""
    images, data = Images(api), os.urandom(16 << 20)
    coming, storing = images.create(), images.create()
    head = (
        f"PUT /image/v2/images/{coming}/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {images.token}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    async with open_top(load_settings(api.config), "test", cell_buses=False) as top:
        store, blobs = top.store, open_blobs(top)

        async def saving() -> bool:
            stored = await store.get(Global.IMAGES(storing))
            return bool(stored and stored.value.status == "saving")

        with socket.create_connection(("127.0.0.1", api.port)) as half:
            half.sendall(head.encode() + data[: 1 << 20])
            uploading = threading.Thread(target=_ignoring, args=(images, storing, data))
            uploading.start()
            await eventually(saving, 60)
            api.kill()
        await asyncio.to_thread(uploading.join)
        (waste,) = await store.range(Global.WASTE.under())
        assert waste.value.image == storing
        await asyncio.to_thread(api.start)
        assert images.status(coming) == "queued"
        assert [path.name for path in api.config.parent.iterdir() if path.name.startswith("tmp")] == []
        assert images.status(storing) == "saving", "nobody may take it for usable"
        assert images.do("GET", f"images/{storing}/file").status_code == 204
        await store.commit(Txn("test").replace(waste, evolve(waste.value, until=LONG_AGO)))
        await blobs.sweep()
        assert images.status(storing) == "queued"
        assert await blobs.objects.info(waste.value.object) is None
        assert await store.range(Global.WASTE.under()) == []
    for image in (coming, storing):
        assert images.do("PUT", f"images/{image}/file", content=data).status_code == 204
    assert images.do("GET", f"images/{storing}/file").content == data


def test_keys_rotate_and_tokens_live_on(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    cloud, images, settings = Cloud(api.url), Images(api), load_settings(api.config)

    def listed() -> list[list[str]]:
        list_keys(settings)
        return [line.split("  ") for line in capsys.readouterr().out.splitlines()]

    ((first, _, use),) = listed()
    assert use == "signs"
    assert "removed 0 whose last token has expired" in command(api, "keys", "rotate")
    assert [line[-1] for line in listed()] == ["soon signs", "signs"]
    assert images.do("GET", "images").status_code == 200
    cloud.ok("token", "issue")
    remove_key(settings, first)

    def ended() -> bool:
        return images.do("GET", "images").status_code == 401

    asyncio.run(eventually(ended, 30))
    cloud.ok("token", "issue")
    capsys.readouterr()
    ((left, *_),) = listed()
    with pytest.raises(Conflict, match="the only signing key"):
        remove_key(settings, left)


def _ignoring(images: Images, image: str, data: bytes) -> None:
    """Uploads to a server that will die of it."""
    try:
        images.do("PUT", f"images/{image}/file", content=data)
    except httpx.HTTPError:
        return
