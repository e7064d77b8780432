"""The bytes of images: verified, shared by digest, and removed when the last image is gone.

Every object in the store is named by exactly one record in etcd: a Blob when images use it, else a Waste that says
until when it may be filled. An object becomes a Blob in the transaction that makes its image active, and Waste in the
one that takes its last image away. Only condemned Waste is removed, and what is condemned cannot be adopted.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from attrs import evolve

from bus.objects import ObjectDamaged, Objects
from control.images.formats import HEAD_BYTES
from control.images.inspection import Inspection
from kv.keys import Global
from kv.store import Store
from kv.txn import Stored, Txn
from schemas.errors import CompareFailed, KilonovaError, NotFound
from schemas.image import Blob, Image, Waste

log = structlog.get_logger()

BUCKET: Final = "images"
SWEEP_SECONDS: Final = 60.0


def hex_of(digest: str) -> str:
    return digest.removeprefix("sha256:")


class Blobs:
    def __init__(self, store: Store, objects: Objects) -> None:
        self.store = store
        self.objects = objects

    async def read(
        self, digest: str, start: int = 0, end: int | None = None
    ) -> tuple[Blob, AsyncGenerator[bytes, None]]:
        """The record and the bytes in [start, end), which are not verified on the way. Raises NotFound."""
        stored = await self.store.get(Global.BLOBS(hex_of(digest)))
        if stored is None:
            raise NotFound(f"No image has the digest {digest}.")
        return stored.value, self.objects.get(stored.value.object, start, end)

    async def verified(self, name: str, sha256: str) -> bool:
        return await self.read_back(name, sha256) is not None

    async def read_back(self, name: str, sha256: str, inspection: Inspection | None = None) -> bytes | None:
        """Reads the object as a whole: its beginning, as `check_format` wants it, or None when the bytes are not those
        of the hash. `inspection` is given all of them."""
        digest, head = hashlib.sha256(), b""
        try:
            async with aclosing(self.objects.get(name)) as chunks:
                async for chunk in chunks:
                    head += chunk[: HEAD_BYTES - len(head)]
                    await asyncio.to_thread(digest.update, chunk)
                    if inspection:
                        await asyncio.to_thread(inspection.take, chunk)
        except (NotFound, ObjectDamaged) as error:
            log.warning("object cannot be read back", object=name, reason=error.message)
            return None
        return head if digest.hexdigest() == sha256 else None

    async def released(self, txn: Txn, image: Image, now: datetime) -> str | None:
        """Adds to `txn` what it means for the bytes that `image` goes; the object that becomes waste by it."""
        if image.digest is None:
            return None
        stored = await self.store.get(Global.BLOBS(hex_of(image.digest)))
        if stored is None or image.id not in stored.value.images:
            return None
        left = stored.value.images - {image.id}
        if left:
            txn.replace(stored, evolve(stored.value, images=left))
            return None
        gone = stored.value.object
        txn.remove(stored).create(Global.WASTE(gone), Waste(gone, image.id, now))
        return gone

    async def dispose(self, name: str) -> None:
        """Removes a waste object whose time has come. What fails is left to the sweep."""
        try:
            stored = await self.store.get(Global.WASTE(name))
            if stored and stored.value.until <= datetime.now(UTC):
                await self._remove(stored)
        except KilonovaError as error:
            log.warning("waste object not removed yet", object=name, reason=error.message)

    async def sweep(self) -> None:
        """Removes all waste whose time has come, and frees images from uploads that died."""
        now = datetime.now(UTC)
        for stored in await self.store.range(Global.WASTE.under()):
            if stored.value.until <= now:
                await self.dispose(stored.value.object)

    async def run(self) -> None:
        """Sweeps until cancelled. Any number of processes may."""
        while True:
            try:
                await self.sweep()
            except KilonovaError as error:
                log.warning("sweep of image waste failed", reason=error.message)
            await asyncio.sleep(SWEEP_SECONDS)

    async def _remove(self, stored: Stored[Waste]) -> None:
        waste = stored.value
        try:
            if not waste.condemned:
                await self.store.commit(Txn("waste-condemn").replace(stored, evolve(waste, condemned=True)))
                await self.dispose(waste.object)
                return
            await self._free(waste)
            await self.objects.delete(waste.object)
            await self.store.commit(Txn("waste-remove").remove(stored))
        except CompareFailed:
            return  # another process is at it, or the upload came to its end

    async def _free(self, waste: Waste) -> None:
        """The image that waits for this object waits in vain: it may be uploaded again."""
        image = await self.store.get(Global.IMAGES(waste.image))
        if image and image.value.upload == waste.object:
            queued = evolve(image.value, status="queued", upload=None, staged=None, updated=datetime.now(UTC))
            await self.store.commit(Txn("image-requeue").replace(image, queued))


def until(now: datetime, size: int) -> datetime:
    """When an upload of so many bytes has surely ended: it gets a second for each MiB, written and read."""
    return now + timedelta(seconds=upload_seconds(size) + 60)


def upload_seconds(size: int) -> float:
    return 120 + 2 * size / (1 << 20)
