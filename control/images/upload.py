"""An upload: into the object store, read back, and only then active.

queued -> saving (the object has a Waste record from now on) -> bytes put or found -> bytes read back -> active. What
fails, or whose process dies, leaves the image queued again and its object to the sweep.
"""

import asyncio
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

import structlog
from attrs import evolve, frozen

from control.images.blobs import Blobs, until, upload_seconds
from control.images.spool import Spooled
from kv.keys import Global
from kv.txn import Stored, Txn
from schemas.errors import CompareFailed, Conflict, Gone, KilonovaError, Unavailable, UnknownOutcome
from schemas.image import Blob, Image, Waste

log = structlog.get_logger()

TRIES: Final = 10


@frozen
class Filled:
    """Where verified bytes lie: in an object of our own, or in the blob that others made."""

    object: str
    own: bool
    blob: Stored[Blob] | None
    """as it was found"""


async def store_image(blobs: Blobs, stored: Stored[Image], spool: Spooled, virtual_size: int | None) -> Image:
    """The active image. Raises Conflict or Gone when somebody else changed its state meanwhile, Unavailable when the
    object store failed."""
    now = datetime.now(UTC)
    name = f"{spool.sha256}-{uuid4().hex}"
    waste = Waste(name, stored.value.id, until(now, spool.size))
    saving = evolve(stored.value, status="saving", upload=name, updated=now)
    try:
        await blobs.store.commit(Txn("image-saving").replace(stored, saving).create(Global.WASTE(name), waste))
    except CompareFailed as error:
        raise Conflict(f"Image {saving.id} is being changed by somebody else.") from error
    try:
        async with asyncio.timeout(upload_seconds(spool.size)):
            for _ in range(TRIES):
                filled = await _fill(blobs, name, spool)
                active = await _activate(blobs, saving, filled, spool, virtual_size)
                if active is not None:
                    return active
        raise Unavailable(f"Image {saving.id} could not be made active: its bytes keep being replaced.")
    except TimeoutError as error:
        raise Unavailable("The object store takes too long: try again later.") from error
    finally:
        await _leave(blobs, saving)


async def _fill(blobs: Blobs, name: str, spool: Spooled) -> Filled:
    """Bytes that are there already are used if they are good, else replaced by ours."""
    blob = await blobs.store.get(Global.BLOBS(spool.sha256))
    if blob and await blobs.verified(blob.value.object, spool.sha256):
        return Filled(blob.value.object, own=False, blob=blob)
    spool.file.seek(0)
    await blobs.objects.delete(name)  # of an earlier round
    await blobs.objects.put(name, spool.file)
    if not await blobs.verified(name, spool.sha256):
        raise Unavailable("The object store did not keep the image's bytes: they differ when read back.")
    return Filled(name, own=True, blob=blob)


async def _activate(
    blobs: Blobs, saving: Image, filled: Filled, spool: Spooled, virtual_size: int | None
) -> Image | None:
    """None when the bytes have to be looked at again."""
    blob_key = Global.BLOBS(spool.sha256)
    for _ in range(TRIES):
        now = datetime.now(UTC)
        image, waste, blob = await blobs.store.read(
            Global.IMAGES(saving.id), Global.WASTE(saving.upload or ""), blob_key
        )
        if image is None:
            raise Gone(f"Image {saving.id} was deleted during its upload.")
        if image.value.status == "active" and image.value.digest == f"sha256:{spool.sha256}":
            return image.value
        if image.value.upload != saving.upload or waste is None or waste.value.condemned:
            raise Conflict(f"Image {saving.id} was given up or changed during its upload.")
        if _revision(blob) != _revision(filled.blob) and (blob is None or blob.value.object != filled.object):
            return None
        active = evolve(
            image.value,
            status="active",
            upload=None,
            updated=now,
            size=spool.size,
            virtual_size=virtual_size,
            digest=f"sha256:{spool.sha256}",
            checksum=spool.md5,
            os_hash_value=spool.sha512,
        )
        images = (blob.value.images if blob else frozenset()) | {active.id}
        txn = Txn("image-activate").replace(image, active)
        txn.remove(waste) if filled.own else txn.unchanged(waste)
        txn.at(blob_key, _revision(blob)).put(
            blob_key, Blob(f"sha256:{spool.sha256}", filled.object, spool.size, images)
        )
        if filled.own and blob:  # its bytes were bad
            txn.put(Global.WASTE(blob.value.object), Waste(blob.value.object, active.id, now))
        try:
            await blobs.store.commit(txn)
        except (CompareFailed, UnknownOutcome) as error:
            log.info("image not active yet", image=saving.id, reason=error.message)
            continue
        return active
    return None


async def _leave(blobs: Blobs, saving: Image) -> None:
    """After the end, whichever it was: what is not active is queued again, and its object is no longer wanted."""
    name = saving.upload or ""
    try:
        stored = await blobs.store.get(Global.WASTE(name))
        if stored is None:
            return
        await blobs.store.commit(
            Txn("image-upload-ended").replace(stored, evolve(stored.value, until=datetime.now(UTC)))
        )
    except KilonovaError as error:
        log.warning("upload's object is left to the sweep", object=name, reason=error.message)
        return
    await blobs.dispose(name)


def _revision(stored: Stored[Blob] | None) -> int:
    return stored.mod_revision if stored else 0
