"""Interoperable import: bytes are staged, then made the image's."""

from typing import Any, Final

from starlette.responses import Response

from control.identity.http import json_answer, read_json
from control.images.call import Call
from control.images.handlers.data import receive, require_octets
from control.images.upload import import_image, stage_image
from control.images.views import STORE
from schemas.errors import BadRequest, Conflict

METHODS: Final = ("glance-direct",)


async def stage_bytes(call: Call) -> Response:
    """204 is said when the bytes are in the object store."""
    require_octets(call.request)
    stored = await call.image("modify_image")
    if stored.value.status != "queued":
        raise _not_from(stored.value.status, "uploading")
    async with receive(call) as spool:
        stored = await call.image("modify_image")  # it may have changed while the bytes came in
        if stored.value.status != "queued":
            raise _not_from(stored.value.status, "uploading")
        await stage_image(call.desk.blobs, stored, spool)
    return Response(status_code=204)


async def import_bytes(call: Call) -> Response:
    """202, when it is done: whoever asks next finds the image active."""
    _require_method(await read_json(call.request))
    stored = await call.image("modify_image")
    image = stored.value
    for name in ("container_format", "disk_format"):
        if getattr(image, name) is None:
            raise BadRequest(f"'{name}' needs to be set before import")
    if image.status == "importing":
        raise Conflict(f"Image {image.id} is being imported already.")
    if image.status != "uploading" or image.staged is None:
        raise Conflict(f"Image needs to be staged before '{METHODS[0]}' method can be used")
    await import_image(call.desk.blobs, stored, image.staged, call.limits)
    return Response(status_code=202)


async def list_import_methods(_: Call) -> Response:
    about = {"description": "Import methods available.", "type": "array", "value": list(METHODS)}
    return json_answer({"import-methods": about})


def _require_method(body: Any) -> None:
    method = body.get("method") if isinstance(body, dict) else None
    if not isinstance(method, dict):
        raise BadRequest("Import request requires a 'method' field.")
    if not isinstance(method.get("name"), str):
        raise BadRequest("Import request requires a 'name' field.")
    if method["name"] not in METHODS:
        raise BadRequest(f"Unknown import method name '{method['name']}'.")
    stores = body.get("stores", [STORE])
    if stores != [STORE]:
        raise Conflict(f"Unknown store: the one that there is is '{STORE}'.")


def _not_from(status: str, to: str) -> Conflict:
    return Conflict(f"Image status transition from {status} to {to} is not allowed")
