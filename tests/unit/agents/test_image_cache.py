"""Images on a host: fetched once, checked, shared, and evicted only when nobody uses them."""

import asyncio
import hashlib
import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from attrs import define, evolve, field

from agents.drivers.libvirt import images
from agents.drivers.libvirt.images import ImageCache
from agents.drivers.libvirt.qcow2 import read_header
from schemas.errors import HostFull, ImageUnusable
from schemas.guest import ImageGrant

CONTENT = os.urandom(3_000_000)


@define
class Web:
    """A server of one image that counts its requests and waits for `gate` in the middle of each answer."""

    url: str = ""
    requests: list[str] = field(factory=list)
    gate: asyncio.Event = field(factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        self.requests.append(path)
        if path == "/denied":
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CONTENT))
            writer.write(CONTENT[:1_500_000])
            await self.gate.wait()
            writer.write(CONTENT[1_500_000:])
        writer.close()


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    made = Web()
    made.gate.set()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield made
    made.gate.set()
    server.close()


@pytest.fixture
def cache(tmp_path: Path) -> ImageCache:
    made = ImageCache(tmp_path / "images", timeout=10)
    made.prepare()
    return made


def grant(web: Web, path: str = "/image") -> ImageGrant:
    return ImageGrant("i1", f"sha256:{hashlib.sha256(CONTENT).hexdigest()}", len(CONTENT), "raw", web.url + path)


def cached(tmp_path: Path) -> list[str]:
    return sorted(os.listdir(tmp_path / "images"))


async def test_guests_of_one_image_share_one_download(web: Web, cache: ImageCache, tmp_path: Path) -> None:
    bases = [tmp_path / f"base{n}" for n in range(5)]
    await asyncio.gather(*(cache.link(grant(web), base) for base in bases))
    await cache.link(grant(web), bases[0])

    assert web.requests == ["/image"]
    assert all(base.read_bytes() == CONTENT for base in bases)
    assert cached(tmp_path) == [hashlib.sha256(CONTENT).hexdigest()]


async def test_a_cancelled_guest_does_not_take_the_download_of_another_along(
    web: Web, cache: ImageCache, tmp_path: Path
) -> None:
    web.gate.clear()
    first = asyncio.create_task(cache.link(grant(web), tmp_path / "one"))
    second = asyncio.create_task(cache.link(grant(web), tmp_path / "two"))
    await asyncio.sleep(0.1)
    first.cancel()
    await asyncio.wait([first])
    web.gate.set()
    await second
    assert web.requests == ["/image"]
    assert not (tmp_path / "one").exists()


async def test_the_last_one_cancelled_leaves_no_download_and_no_part(
    web: Web, cache: ImageCache, tmp_path: Path
) -> None:
    web.gate.clear()
    guests = [asyncio.create_task(cache.link(grant(web), tmp_path / str(n))) for n in range(2)]
    await asyncio.sleep(0.1)
    assert len(cached(tmp_path)) == 1
    for guest in guests:
        guest.cancel()
    await asyncio.wait(guests)
    assert cached(tmp_path) == []


async def test_a_leave_that_ran_out_does_not_fail_those_who_have_a_good_one(
    web: Web, cache: ImageCache, tmp_path: Path
) -> None:
    denied, allowed = await asyncio.gather(
        cache.link(grant(web, "/denied"), tmp_path / "one"),
        cache.link(grant(web), tmp_path / "two"),
        return_exceptions=True,
    )
    assert isinstance(denied, ImageUnusable)
    assert "403" in denied.message
    assert allowed is None


async def test_bytes_that_do_not_match_are_refused_and_dropped(web: Web, cache: ImageCache, tmp_path: Path) -> None:
    right = grant(web)
    for wrong in (
        evolve(right, digest="sha256:" + "0" * 64),
        evolve(right, size=1_000_000),
        evolve(right, digest="md5:0"),
        evolve(right, digest="sha256:../../etc/passwd"),
        evolve(right, url="http://127.0.0.1:1/image"),
    ):
        with pytest.raises(ImageUnusable):
            await cache.link(wrong, tmp_path / "base")
        assert cached(tmp_path) == []


async def test_a_full_disk_evicts_unused_images_and_keeps_used_ones(
    web: Web, cache: ImageCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, unused = tmp_path / "images" / "used", tmp_path / "images" / "unused"
    used.write_bytes(b"1")
    unused.write_bytes(b"2")
    os.link(used, tmp_path / "base-of-a-guest")
    monkeypatch.setattr(images, "_free_bytes", lambda _directory: 0 if unused.exists() else len(CONTENT))
    await cache.link(grant(web), tmp_path / "base")
    assert used.exists()
    assert not unused.exists()

    monkeypatch.setattr(images, "_free_bytes", lambda _directory: 0)
    (tmp_path / "images" / hashlib.sha256(CONTENT).hexdigest()).unlink()
    with pytest.raises(HostFull):
        await cache.link(grant(web), tmp_path / "base")


def test_what_an_earlier_process_left_half_fetched_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "abc.123.part").write_bytes(b"half")
    ImageCache(tmp_path / "images", timeout=1).prepare()
    assert cached(tmp_path) == []


def qcow2(version: int = 3, backing: int = 0, features: int = 0, size: int = 1 << 30) -> bytes:
    return (struct.pack(">4sIQIIQ", b"QFI\xfb", version, backing, 0, 16, size) + bytes(40)).ljust(
        72, b"\0"
    ) + struct.pack(">QQQII", features, 0, 0, 4, 104)


def test_a_plain_qcow2_header() -> None:
    assert read_header(qcow2(size=5 << 30)).virtual_size == 5 << 30
    assert read_header(qcow2(version=2)[:72]).version == 2


@pytest.mark.parametrize(
    "head",
    [b"", b"#!/bin/sh\n" * 20, qcow2(version=9), qcow2(backing=104), qcow2(features=4)],
    ids=["empty", "not qcow2", "unknown version", "backing file", "external data file"],
)
def test_headers_that_qemu_must_not_see(head: bytes) -> None:
    """A tenant's image that names a file of the host as its own would show it to the guest: CVE-2015-5163 (backing
    file) and CVE-2024-32498 (external data file)."""
    with pytest.raises(ImageUnusable):
        read_header(head)
