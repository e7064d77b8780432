"""What hosts would open is what was checked, and an id means one image for ever."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pycdlib
import pytest
from attrs import evolve
from image_client import OCTETS, Client, qcow2
from sites import Site, open_site

from control.images.blobs import Blobs
from kv.keys import Global
from kv.txn import Txn
from schemas.settings import BusSettings, StoreSettings

PARTITION = bytes([0x80, 1, 1, 0, 0x83, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 0])
"""of a master boot record: one sector of Linux"""
IMPORT = {"method": {"name": "glance-direct"}}


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


def disk(directory: Path, kind: str, *options: str) -> bytes:
    """A disk of 1 MiB as `qemu-img` makes it."""
    path = directory / f"disk.{kind}"
    command = ["qemu-img", "create", "-q", "-f", kind, *options, str(path), "1M"]
    subprocess.run(command, check=True, timeout=60)
    return path.read_bytes()


def stream_optimized(directory: Path) -> bytes:
    raw, path = directory / "plain.raw", directory / "stream.vmdk"
    raw.write_bytes(bytes(range(256)) * 4096)
    command = ["qemu-img", "convert", "-q", "-O", "vmdk", "-o", "subformat=streamOptimized", str(raw), str(path)]
    subprocess.run(command, check=True, timeout=60)
    return path.read_bytes()


def iso() -> bytes:
    made = pycdlib.PyCdlib()
    made.new()
    out = BytesIO()
    made.write_fp(out)
    made.close()
    return out.getvalue()


def samples(directory: Path) -> dict[str, bytes]:
    base = directory / "secret.raw"
    base.write_bytes(bytes(1 << 20))
    return {
        "raw": bytes(1 << 20),
        "partitioned": bytes(446) + PARTITION + bytes(48) + b"\x55\xaa" + bytes(4096),
        "qcow2": disk(directory, "qcow2"),
        "qcow2 of another file": disk(directory, "qcow2", "-b", str(base), "-F", "raw"),
        "vmdk": stream_optimized(directory),
        "vmdk of another file": disk(directory, "vmdk", "-o", "subformat=monolithicFlat"),
        "vdi": disk(directory, "vdi"),
        "vhdx": disk(directory, "vhdx"),
        "vhd": disk(directory, "vpc"),
        "luks": b"LUKS\xba\xbe\x00\x01" + bytes(4096),
        "iso": iso(),
    }  # fmt: skip


GOOD = {
    ("raw", "raw"), ("raw", "partitioned"), ("qcow2", "qcow2"), ("vmdk", "vmdk"), ("vdi", "vdi"), ("vhdx", "vhdx"),
    ("vhd", "vhd"), ("iso", "iso"), ("ami", "raw"), ("ami", "partitioned"),
}  # fmt: skip
"""declared format and sample"""


async def test_only_what_is_declared_can_be_uploaded(demo: Client, tmp_path: Path) -> None:
    """Only qcow2 and raw were looked at: whatever was declared as iso or vmdk was taken."""
    data = samples(tmp_path)
    for declared in ("raw", "qcow2", "vmdk", "vdi", "vhdx", "vhd", "iso", "ami"):
        for sample, content in data.items():
            image = await demo.create(disk_format=declared)
            answer = await demo.upload(image, content)
            wanted = 204 if (declared, sample) in GOOD else 400
            assert answer.status_code == wanted, (declared, sample, answer.text)
            assert (await demo.show(image))["status"] == ("active" if wanted == 204 else "queued")


async def test_an_archive_hides_no_disk(demo: Client, tmp_path: Path) -> None:
    for container in ("ova", "docker", "compressed"):
        image = await demo.create(disk_format="qcow2", container_format=container)
        assert (await demo.upload(image, disk(tmp_path, "qcow2"))).status_code == 400


async def staged(demo: Client, declared: str | None, data: bytes) -> dict[str, Any]:
    image = await demo.create(disk_format=declared)
    answer = await demo.do("PUT", f"images/{image['id']}/stage", content=data, headers=OCTETS)
    assert answer.status_code == 204, answer.text
    return image


async def test_a_format_is_not_changed_while_it_is_checked(
    demo: Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A qcow2 of another file was staged as iso and imported; while its bytes were read, a PATCH made its format qcow2:
    the image was active as what nobody had checked."""
    image = await staged(demo, "iso", iso())
    reading, go_on = asyncio.Event(), asyncio.Event()
    read_back = Blobs.read_back

    async def slow(self: Blobs, *args: Any) -> bytes | None:
        reading.set()
        await go_on.wait()
        return await read_back(self, *args)

    monkeypatch.setattr(Blobs, "read_back", slow)
    importing = asyncio.create_task(demo.do("POST", f"images/{image['id']}/import", json=IMPORT))
    await reading.wait()
    for name, value in (("disk_format", "qcow2"), ("container_format", "ova")):
        answer = await demo.patch(image, {"op": "replace", "path": f"/{name}", "value": value})
        assert answer.status_code == 403, answer.text
    stored = await site.top.store.get(Global.IMAGES(image["id"]))
    assert stored
    await site.top.store.commit(Txn("by force").replace(stored, evolve(stored.value, disk_format="qcow2")))
    go_on.set()
    assert (await importing).status_code == 409
    assert (await demo.show(image))["status"] == "queued"


async def test_what_is_staged_is_checked_as_what_it_is_imported(demo: Client) -> None:
    image = await staged(demo, None, qcow2(1 << 30, backing=200))
    for declared in ("iso", "qcow2", "raw"):
        answer = await demo.patch(image, {"op": "replace", "path": "/disk_format", "value": declared})
        assert answer.status_code == 200, answer.text
        refused = await demo.do("POST", f"images/{image['id']}/import", json=IMPORT)
        assert refused.status_code == 400, refused.text
        assert (await demo.show(image))["status"] == "queued"
        again = await demo.do("PUT", f"images/{image['id']}/stage", content=qcow2(1 << 30, backing=200), headers=OCTETS)
        assert again.status_code == 204


async def test_an_id_is_used_once(admin: Client, demo: Client) -> None:
    """Whoever knew the id of a deleted image could make another one of it, which others booted by that id."""
    for who in (admin, demo):
        gone = await who.create(visibility="community")
        assert (await who.do("DELETE", f"images/{gone['id']}")).status_code == 204
        again = {"id": gone["id"], "visibility": "community"}
        assert (await demo.do("POST", "images", json=again)).status_code == 403
        assert (await admin.do("POST", "images", json=again)).status_code == 409
    chosen = {"id": str(uuid4())}
    assert (await demo.do("POST", "images", json=chosen)).status_code == 403
    made = await admin.do("POST", "images", json=chosen)
    assert (made.status_code, made.json()["id"]) == (201, chosen["id"])
    assert (await admin.do("POST", "images", json=chosen)).status_code == 409
    assert (await admin.do("DELETE", f"images/{chosen['id']}")).status_code == 204
    assert (await admin.do("POST", "images", json=chosen)).status_code == 409
