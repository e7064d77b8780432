"""An image's bytes: up from its owner, down to who may see it, down to agents that hold a grant."""

from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from control.images.call import Call, Desk
from control.images.formats import check_format
from control.images.spool import spooled
from control.images.upload import store_image
from schemas.errors import BadRequest, Conflict, Forbidden, TooLarge, UnsupportedMediaType
from schemas.image import Image

OCTETS = "application/octet-stream"


async def upload_image(call: Call) -> Response:
    """204 is said only after the bytes were read back."""
    if call.request.headers.get("content-type", OCTETS).partition(";")[0] != OCTETS:
        raise UnsupportedMediaType(f"Content-Type must be {OCTETS}.")
    stored = await call.own_image()
    _require_ready(stored.value)
    _require_size(call)
    call.desk.blobs.objects.require_reachable()
    async with spooled(_body(call.request), call.desk.max_bytes, call.desk.spool_dir) as spool:
        _require_whole(call.request, spool.size)
        virtual = check_format(stored.value.disk_format or "", spool.head, spool.size)
        stored = await call.own_image()  # it may have changed while the bytes came in
        _require_ready(stored.value)
        await store_image(call.desk.blobs, stored, spool, virtual)
    return Response(status_code=204)


async def download_image(call: Call) -> Response:
    image = (await call.image()).value
    if image.status == "deactivated" and not call.who.is_admin:
        raise Forbidden("The requested image has been deactivated. Image data download is forbidden.")
    if image.digest is None:
        return Response(status_code=204)
    headers = {"Content-MD5": image.checksum} if image.checksum else {}
    return await _streamed(call.desk, image.digest, headers)


async def download_blob(desk: Desk, request: Request) -> Response:
    """For agents: no token, a grant."""
    name, query = request.path_params["digest"], request.query_params
    given = (query.get("cell", ""), query.get("expires", ""), query.get("sig", ""))
    desk.grants.check(name, *given, now=datetime.now(UTC))
    return await _streamed(desk, name, {})


async def _streamed(desk: Desk, digest: str, headers: dict[str, str]) -> Response:
    """The first chunk is had before the answer begins, so a store that is away is a 503."""
    blob, chunks = await desk.blobs.read(digest)
    first = await anext(chunks, b"")
    length = {"Content-Length": str(blob.size)}
    return StreamingResponse(_chain(first, chunks), 200, headers | length, OCTETS)


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


def _require_size(call: Call) -> None:
    announced = call.request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > call.desk.max_bytes:
        raise TooLarge(f"Denying attempt to upload image larger than {call.desk.max_bytes} bytes.")


def _require_whole(request: Request, size: int) -> None:
    """Clients may say how much they mean to send, also where the body comes in chunks."""
    for header in ("x-openstack-image-size", "content-length"):
        announced = request.headers.get(header)
        if announced is not None and announced != str(size):
            raise BadRequest(f"{header} announced {announced} bytes, {size} came.")
