"""An upload: into the object store, read back, and only then active.

At once: queued -> saving (the object has a Waste record from now on) -> bytes put or found -> bytes read back ->
active. In two steps: queued -> uploading -> bytes put; then importing -> bytes read back -> active. What fails, or
whose process dies, leaves the image queued again and its object to the sweep.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

import structlog
from attrs import evolve, frozen

from control.images.blobs import Blobs, until, upload_seconds
from control.images.formats import check_format
from control.images.inspection import Findings, Inspection, require_declared
from control.images.quota import UNLIMITED, ImageLimits, charge
from control.images.spool import Spooled
from kv.keys import Global
from kv.txn import Stored, Txn
from schemas.errors import CompareFailed, Conflict, Gone, KilonovaError, Unavailable, UnknownOutcome
from schemas.image import Blob, Facts, Image, Waste

log = structlog.get_logger()

TRIES: Final = 10
STAGED: Final = timedelta(days=1)
"""how long staged bytes wait for their import"""


@frozen
class Filled:
    """Where verified bytes lie: in an object of our own, or in the blob that others made."""

    object: str
    own: bool
    blob: Stored[Blob] | None
    """as it was found"""


def check_bytes(image: Image, head: bytes, size: int, findings: Findings) -> int | None:
    """The virtual size in bytes. Raises BadRequest for bytes that are not what the image's record says, or that a host
    must not open."""
    disk_format, container_format = image.disk_format or "", image.container_format or ""
    virtual = check_format(disk_format, head, size)
    inner = require_declared(findings, disk_format, container_format)
    return virtual if virtual is not None else inner


async def store_image(blobs: Blobs, stored: Stored[Image], spool: Spooled, limits: ImageLimits = UNLIMITED) -> Image:
    """The active image. Raises Conflict or Gone when somebody else changed its state meanwhile, Unavailable when the
    object store failed, BadRequest when the bytes are not of the image's formats."""
    virtual_size = check_bytes(stored.value, spool.head, spool.facts.size, spool.findings)
    saving = await _begin(blobs, stored, spool, "saving")
    async with _bounded(blobs, saving, spool.facts.size):
        for _ in range(TRIES):
            filled = await _fill(blobs, saving.upload or "", spool)
            active = await _activate(blobs, saving, filled, spool.facts, virtual_size, limits)
            if active is not None:
                return active
        raise _restless(saving)


async def stage_image(blobs: Blobs, stored: Stored[Image], spool: Spooled) -> None:
    """Puts the bytes where `import_image` finds them within a day. Raises as `store_image`."""
    uploading = await _begin(blobs, stored, spool, "uploading")
    name = uploading.upload or ""
    staged = False
    try:
        async with asyncio.timeout(upload_seconds(spool.facts.size)):
            await blobs.objects.put(name, spool.file)
        for _ in range(TRIES):
            if staged := await _mark_staged(blobs, uploading, spool.facts):
                return
        raise _changed_meanwhile(uploading)
    except TimeoutError as error:
        raise _too_slow() from error
    finally:
        if not staged:
            await _leave(blobs, uploading)


async def _mark_staged(blobs: Blobs, uploading: Image, facts: Facts) -> bool:
    """False when somebody changed the image meanwhile: look again."""
    name = uploading.upload or ""
    image, waste = await blobs.store.read(Global.IMAGES(uploading.id), Global.WASTE(name))
    if image is None:
        raise Gone(f"Image {uploading.id} was deleted during its upload.")
    if image.value.upload != name or waste is None or waste.value.condemned:
        raise _changed_meanwhile(uploading)
    now = datetime.now(UTC)
    txn = Txn("image-staged").replace(image, evolve(image.value, staged=facts, updated=now))
    try:
        await blobs.store.commit(txn.replace(waste, evolve(waste.value, until=now + STAGED)))
    except CompareFailed:
        return False
    return True


async def import_image(blobs: Blobs, stored: Stored[Image], facts: Facts, limits: ImageLimits = UNLIMITED) -> Image:
    """The active image, from the staged bytes. Raises as `store_image`, and BadRequest when the bytes are not of the
    image's format."""
    now, name = datetime.now(UTC), stored.value.upload or ""
    importing = evolve(stored.value, status="importing", updated=now)
    waste = await blobs.store.get(Global.WASTE(name))
    if waste is None or waste.value.condemned:
        raise _changed_meanwhile(importing)
    txn = Txn("image-importing").replace(stored, importing)
    try:
        await blobs.store.commit(txn.replace(waste, evolve(waste.value, until=until(now, facts.size))))
    except CompareFailed as error:
        raise _changed_meanwhile(importing) from error
    async with _bounded(blobs, importing, facts.size):
        inspection = Inspection()
        head = await blobs.read_back(name, facts.sha256, inspection)
        if head is None:
            raise Unavailable("The object store did not keep the image's bytes: they differ when read back.")
        findings = await asyncio.to_thread(inspection.finish)
        virtual = check_bytes(importing, head, facts.size, findings)
        for _ in range(TRIES):
            blob = await blobs.store.get(Global.BLOBS(facts.sha256))
            good = blob is not None and await blobs.verified(blob.value.object, facts.sha256)
            filled = Filled(blob.value.object if blob and good else name, own=not good, blob=blob)
            active = await _activate(blobs, importing, filled, facts, virtual, limits)
            if active is not None:
                return active
        raise _restless(importing)


async def _begin(blobs: Blobs, stored: Stored[Image], spool: Spooled, status: str) -> Image:
    """The image in that status, waiting for an object that has a record."""
    now = datetime.now(UTC)
    name = f"{spool.facts.sha256}-{uuid4().hex}"
    waste = Waste(name, stored.value.id, until(now, spool.facts.size))
    begun = evolve(stored.value, status=status, upload=name, updated=now)
    try:
        await blobs.store.commit(Txn(f"image-{status}").replace(stored, begun).create(Global.WASTE(name), waste))
    except CompareFailed as error:
        raise Conflict(f"Image {begun.id} is being changed by somebody else.") from error
    return begun


@asynccontextmanager
async def _bounded(blobs: Blobs, image: Image, size: int) -> AsyncIterator[None]:
    """Whatever the end, nothing is left that is not recorded."""
    try:
        async with asyncio.timeout(upload_seconds(size)):
            yield
    except TimeoutError as error:
        raise _too_slow() from error
    finally:
        await _leave(blobs, image)


async def _fill(blobs: Blobs, name: str, spool: Spooled) -> Filled:
    """Bytes that are there already are used if they are good, else replaced by ours."""
    blob = await blobs.store.get(Global.BLOBS(spool.facts.sha256))
    if blob and await blobs.verified(blob.value.object, spool.facts.sha256):
        return Filled(blob.value.object, own=False, blob=blob)
    spool.file.seek(0)
    await blobs.objects.delete(name)  # of an earlier round
    await blobs.objects.put(name, spool.file)
    if not await blobs.verified(name, spool.facts.sha256):
        raise Unavailable("The object store did not keep the image's bytes: they differ when read back.")
    return Filled(name, own=True, blob=blob)


async def _activate(
    blobs: Blobs, saving: Image, filled: Filled, facts: Facts, virtual_size: int | None, limits: ImageLimits
) -> Image | None:
    """None when the bytes have to be looked at again."""
    blob_key = Global.BLOBS(facts.sha256)
    for _ in range(TRIES):
        now = datetime.now(UTC)
        image, waste, blob = await blobs.store.read(
            Global.IMAGES(saving.id), Global.WASTE(saving.upload or ""), blob_key
        )
        if image is None:
            raise Gone(f"Image {saving.id} was deleted during its upload.")
        if image.value.status == "active" and image.value.digest == f"sha256:{facts.sha256}":
            return image.value
        if image.value.upload != saving.upload or waste is None or waste.value.condemned:
            raise _changed_meanwhile(saving)
        if _formats(image.value) != _formats(saving):
            raise _changed_meanwhile(saving)  # the bytes were not checked for these
        if _revision(blob) != _revision(filled.blob) and (blob is None or blob.value.object != filled.object):
            return None
        active = evolve(
            image.value,
            status="active",
            upload=None,
            staged=None,
            updated=now,
            size=facts.size,
            virtual_size=virtual_size,
            digest=f"sha256:{facts.sha256}",
            checksum=facts.md5,
            os_hash_value=facts.sha512,
        )
        images = (blob.value.images if blob else frozenset()) | {active.id}
        txn = Txn("image-activate").replace(image, active)
        await charge(blobs.store, txn, active.owner, 0, facts.size, limits)
        txn.remove(waste) if filled.own else txn.unchanged(waste)
        txn.at(blob_key, _revision(blob)).put(
            blob_key, Blob(f"sha256:{facts.sha256}", filled.object, facts.size, images)
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


def _formats(image: Image) -> tuple[str | None, str | None]:
    return image.disk_format, image.container_format


def _revision(stored: Stored[Blob] | None) -> int:
    return stored.mod_revision if stored else 0


def _changed_meanwhile(image: Image) -> Conflict:
    return Conflict(f"Image {image.id} was given up or changed during its upload.")


def _restless(image: Image) -> Unavailable:
    return Unavailable(f"Image {image.id} could not be made active: its bytes keep being replaced.")


def _too_slow() -> Unavailable:
    return Unavailable("The object store takes too long: try again later.")
