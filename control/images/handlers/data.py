"""An image's bytes: up from its owner, down to who may see it, down to agents that hold a grant."""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from attrs import frozen
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from control.images.call import Call, Desk
from control.images.spool import Spooled, spooled
from control.images.upload import store_image
from control.images.views import STORE
from kv.keys import Global
from schemas.errors import BadRequest, Conflict, Forbidden, RangeUnsatisfiable, TooLarge, UnsupportedMediaType
from schemas.image import Image

OCTETS: Final = "application/octet-stream"


async def upload_image(call: Call) -> Response:
    """204 is said only after the bytes were read back."""
    require_octets(call.request)
    if (store := call.request.headers.get("x-image-meta-store", STORE)) != STORE:
        raise BadRequest(f"Store for image does not exist: {store}. The one that there is is '{STORE}'.")
    stored = await call.image("upload_image")
    _require_ready(stored.value)
    async with receive(call) as spool:
        stored = await call.image("upload_image")  # it may have changed while the bytes came in
        _require_ready(stored.value)
        await store_image(call.desk.blobs, stored, spool, call.limits)
    return Response(status_code=204)


async def download_image(call: Call) -> Response:
    """All of it, or the one range that is asked for."""
    image = (await call.image("download_image")).value
    if image.status == "deactivated" and not call.who.is_admin:
        raise Forbidden("The requested image has been deactivated. Image data download is forbidden.")
    if image.digest is None or not image.size:
        return Response(status_code=204)
    wanted = _range(call.request.headers.get("range"), image.size)
    headers = {"Content-MD5": image.checksum} if image.checksum else {}
    if wanted is None:
        return await _streamed(call.desk, image.digest, headers)
    return await _streamed(call.desk, image.digest, {}, wanted)


async def download_blob(desk: Desk, request: Request) -> Response:
    """For agents: no token, a grant, which ends with the mapping of its cell.

    Raises:
        Forbidden: The grant is forged or has expired, or its cell is not mapped any more.
    """
    name, query = request.path_params["digest"], request.query_params
    cell = query.get("cell", "")
    desk.grants.check(name, cell, query.get("expires", ""), query.get("sig", ""), now=datetime.now(UTC))
    if await desk.store.get(Global.CELLS(cell)) is None:
        raise Forbidden("The image grant is of a cell that is not mapped any more.")
    return await _streamed(desk, name, {})


@asynccontextmanager
async def receive(call: Call) -> AsyncIterator[Spooled]:
    """The body of an upload, whole and not too large. Raises before it is read where it could not be kept."""
    announced = call.request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced[:19]) > call.desk.max_bytes:
        raise TooLarge(f"Denying attempt to upload image larger than {call.desk.max_bytes} bytes.")
    call.desk.blobs.objects.require_reachable()
    body = _body(call.request)
    async with (
        call.desk.slots.one(call.who.project),
        spooled(body, call.desk.max_bytes, call.desk.spool_dir) as spool,
    ):
        _require_whole(call.request, spool.facts.size)
        yield spool


def require_octets(request: Request) -> None:
    if request.headers.get("content-type", OCTETS).partition(";")[0] != OCTETS:
        raise UnsupportedMediaType(f"Content-Type must be {OCTETS}.")


@frozen
class Range:
    """Bytes [start, end) of `size`."""

    start: int
    end: int
    size: int


def _range(header: str | None, size: int) -> Range | None:
    """None: all. Raises RangeUnsatisfiable for what is not one range within the image."""
    if header is None:
        return None
    found = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", header.strip())
    first, last = found.groups() if found else ("", "")
    start = int(first) if first else max(0, size - int(last)) if last else size
    end = min(size, int(last) + 1) if first and last else size
    if start >= end:
        raise RangeUnsatisfiable(f"The byte range passed in the 'Range' header did not match any available byte range "
                                 f"in the current file: {header} of {size} bytes.")  # fmt: skip
    return Range(start, end, size)


async def _streamed(desk: Desk, digest: str, headers: dict[str, str], wanted: Range | None = None) -> Response:
    """The first chunk is had before the answer begins, so a store that is away is a 503."""
    start, end = (wanted.start, wanted.end) if wanted else (0, None)
    blob, chunks = await desk.blobs.read(digest, start, end)
    first = await anext(chunks, b"")
    about = {"Content-Length": str((end or blob.size) - start), "Accept-Ranges": "bytes"}
    if wanted:
        about["Content-Range"] = f"bytes {wanted.start}-{wanted.end - 1}/{wanted.size}"
    return StreamingResponse(_chain(first, chunks), 206 if wanted else 200, headers | about, OCTETS)


async def _chain(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    try:
        yield first
        async for chunk in rest:
            yield chunk
    finally:
        await rest.aclose()


async def _body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect as error:
        raise BadRequest("The upload was cut short.") from error


def _require_ready(image: Image) -> None:
    if image.status != "queued":
        raise Conflict(f"Image status transition from {image.status} to saving is not allowed")
    missing = [name for name in ("disk_format", "container_format") if getattr(image, name) is None]
    if missing:
        raise BadRequest(f"Properties {', '.join(missing)} must be set prior to saving data.")


def _require_whole(request: Request, size: int) -> None:
    """Clients may say how much they mean to send, also where the body comes in chunks."""
    for header in ("x-openstack-image-size", "content-length"):
        announced = request.headers.get(header)
        if announced is not None and announced != str(size):
            raise BadRequest(f"{header} announced {announced} bytes, {size} came.")
