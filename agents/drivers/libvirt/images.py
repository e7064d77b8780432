"""The host's cache of images: each fetched once, checked against its digest, and shared by hard links.

`<images_dir>/<hex of the digest>` is always a whole and right file, for it gets its name only after its check. A guest
keeps a hard link of its own, so a file that leaves the cache harms nobody, and one with a single link is unused.
"""

import asyncio
import contextlib
import errno
import hashlib
import os
import ssl
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final
from uuid import uuid4

import httpx
from attrs import define, field

from agents.drivers.libvirt.waiting import in_thread
from agents.progress import tell_progress
from schemas.errors import HostFull, ImageUnusable
from schemas.guest import ImageGrant

_CHUNK: Final = 1 << 20
_TELL_SECONDS: Final = 5.0
_STALL: Final = httpx.Timeout(30.0, connect=10.0)


@define
class _Fetch:
    task: asyncio.Task[Path] = field(init=False)
    waiters: int = 0
    size: int = 0
    """bytes that are here"""


class ImageCache:
    def __init__(self, directory: Path, timeout: float, ca_file: str = "") -> None:
        self._directory = directory
        self._timeout = timeout
        self._trust = ssl.create_default_context(cafile=ca_file or None)
        self._fetches: dict[str, _Fetch] = {}

    def prepare(self) -> None:
        """Make the directory and drop what an earlier process left half fetched. Blocking."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.chmod(0o700)  # QEMU has its guest's link
        for part in self._directory.glob("*.part"):
            part.unlink(missing_ok=True)

    async def fetch(self, image: ImageGrant) -> None:
        """Have it here; it may leave again when there is no room. Raises ImageUnusable, HostFull."""
        path = await self._ensure(image)
        with contextlib.suppress(FileNotFoundError):
            await in_thread(lambda: os.utime(path))  # wanted just now: others leave before it

    async def link(self, image: ImageGrant, to: Path) -> None:
        """Give a guest its own link to the image, fetched if need be. Raises ImageUnusable, HostFull."""
        while True:
            path = await self._ensure(image)
            try:
                await in_thread(partial(_replace_link, path, to))
            except FileNotFoundError:
                continue  # evicted since
            return

    async def _ensure(self, image: ImageGrant) -> Path:
        path = self._directory / _hex(image)
        while not path.exists():
            fetch = self._fetches.get(image.digest)
            ours = fetch is None or fetch.task.done()
            if fetch is None or fetch.task.done():
                fetch = _Fetch()
                fetch.task = asyncio.create_task(self._fetch(image, path, fetch), name=f"image-{image.id}")
                self._fetches[image.digest] = fetch
            try:
                return await self._share(image.digest, fetch)
            except ImageUnusable:
                if ours:
                    raise
                # Another's leave to fetch may have run out where ours has not.
        return path

    async def _share(self, digest: str, fetch: _Fetch) -> Path:
        """Wait for a download; the last of those who wait takes it along when cancelled."""
        fetch.waiters += 1
        try:
            here = 0
            while not (await asyncio.wait([fetch.task], timeout=_TELL_SECONDS))[0]:
                if fetch.size > here:
                    here = fetch.size
                    tell_progress(f"{here >> 20} MiB of the image fetched")
            return fetch.task.result()
        finally:
            fetch.waiters -= 1
            if not fetch.waiters:
                if self._fetches.get(digest) is fetch:
                    del self._fetches[digest]
                if not fetch.task.done():
                    fetch.task.cancel()
                    await asyncio.wait([fetch.task])

    async def _fetch(self, image: ImageGrant, path: Path, fetch: _Fetch) -> Path:
        await in_thread(lambda: self._make_room(image.size))
        part = path.with_name(f"{path.name}.{uuid4().hex}.part")
        try:
            with full_disk_named(self._directory):
                async with asyncio.timeout(self._timeout):
                    await _download(image, part, self._trust, fetch)
            await in_thread(lambda: part.rename(path))
        except TimeoutError:
            raise ImageUnusable(f"image {image.id} was not fetched within {self._timeout:g} s") from None
        except httpx.HTTPError as error:
            raise ImageUnusable(f"image {image.id} cannot be fetched: {error!r}") from error
        finally:
            part.unlink(missing_ok=True)
        return path

    def _make_room(self, size: int) -> None:
        """Evict unused images, the longest unused first, until `size` bytes are free. Blocking."""
        unused = sorted(_unused(self._directory), key=lambda found: found[0])
        while _free_bytes(self._directory) < size:
            if not unused:
                raise HostFull(f"{self._directory} has {_free_bytes(self._directory)} bytes free, the image has {size}")
            unused.pop(0)[1].unlink(missing_ok=True)


@contextlib.contextmanager
def full_disk_named(directory: Path) -> Iterator[None]:
    """Turns the system's complaint that a disk is full into HostFull."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise HostFull(f"the disk of {directory} is full") from error
        raise


def _hex(image: ImageGrant) -> str:
    algorithm, _, digits = image.digest.partition(":")
    if algorithm != "sha256" or len(digits) != 64 or set(digits) - set("0123456789abcdef"):
        raise ImageUnusable(f"image {image.id} has a digest of an unknown kind: {image.digest}")
    return digits


async def _download(image: ImageGrant, part: Path, trust: ssl.SSLContext, fetch: _Fetch) -> None:
    """To `part`, checked. Never more than `image.size` bytes are written."""
    digest = hashlib.sha256()
    # No proxies from the environment: the URL is one of the site's own.
    async with (
        httpx.AsyncClient(timeout=_STALL, trust_env=False, verify=trust) as client,
        client.stream("GET", image.url) as response,
    ):
        response.raise_for_status()
        with await in_thread(partial(new_private_file, part)) as file:

            def keep(chunk: bytes) -> None:
                digest.update(chunk)
                file.write(chunk)

            async for chunk in response.aiter_bytes(_CHUNK):
                fetch.size += len(chunk)
                if fetch.size > image.size:
                    raise ImageUnusable(f"image {image.id} is longer than its {image.size} bytes")
                await in_thread(partial(keep, chunk))
            # The name that it gets next says that the bytes are right; that must hold after a loss of power too.
            await in_thread(lambda: os.fsync(file.fileno()))
    if f"sha256:{digest.hexdigest()}" != image.digest:
        raise ImageUnusable(f"image {image.id}: what was fetched does not match {image.digest}")


def new_private_file(path: Path) -> BinaryIO:
    """To be written, unbuffered. What tenants keep is for its owner alone: libvirt makes the user that QEMU runs as the
    owner of a guest's files, of its image too. Raises FileExistsError. Blocking."""
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)


def _replace_link(source: Path, to: Path) -> None:
    to.unlink(missing_ok=True)
    os.link(source, to)
    os.utime(source)  # last used now: the order in which unused images go


def _unused(directory: Path) -> Iterator[tuple[float, Path]]:
    for path in directory.iterdir():
        status = path.stat()
        if status.st_nlink == 1 and path.suffix != ".part":
            yield status.st_mtime, path


def _free_bytes(directory: Path) -> int:
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize
