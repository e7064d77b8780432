"""Images: all but their bytes."""

from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

from attrs import evolve
from starlette.responses import Response

from control.identity.http import json_answer, read_json
from control.images.attributes import BY_NAME, checked, require_quotas, require_unreserved, writable
from control.images.call import Call
from control.images.handlers.imports import METHODS
from control.images.patch import MEDIA_TYPES, Change, apply_patch, parse_patch
from control.images.policy import check, may
from control.images.query import first_link, next_link, page, parse_query
from control.images.quota import charge, require_small
from control.images.shelf import TRIES
from control.images.views import STORE, image_view
from kv.keys import Global
from kv.txn import Txn
from schemas.errors import BadRequest, CompareFailed, Conflict, Forbidden, NotFound, UnsupportedMediaType
from schemas.identity import NameIndex
from schemas.image import Image

VISIBILITY_RULES: Final = {"public": "publicize_image", "community": "communitize_image"}
TOGGLES: Final = {"deactivate": ("active", "deactivated"), "reactivate": ("deactivated", "active")}


async def create_image(call: Call) -> Response:
    body = await read_json(call.request)
    if not isinstance(body, dict):
        raise BadRequest("The body must be an object that describes the image.")
    image = new_image(body, call.who.project, datetime.now(UTC), call.desk.ids.new())
    if not may(call.desk.rules, "add_image", call.who, image):
        if image.owner != call.who.project:
            raise Forbidden(f"You are not permitted to create images owned by '{image.owner}'.")
        raise Forbidden("You are not authorized to complete add_image action.")
    _check_visibility(call, image)
    require_small(image)
    await _commit_new(call, image, chosen="id" in body)
    headers = {
        "Location": f"{call.desk.api_url}/image/v2/images/{image.id}",
        "OpenStack-image-import-methods": ",".join(METHODS),
        "OpenStack-image-store-ids": STORE,
    }
    return json_answer(image_view(image), 201, headers)


async def list_images(call: Call) -> Response:
    call.check("get_images")
    items = call.request.query_params.multi_items()
    query = parse_query(items)
    stored = await call.desk.store.range_again(Global.IMAGES.under(), call.desk.seen)
    images, more = page((s.value for s in stored), query, call.who)
    body: dict[str, Any] = {
        "images": [image_view(image) for image in images],
        "first": first_link(items),
        "schema": "/v2/schemas/images",
    }
    if more and images:
        body["next"] = next_link(items, images[-1].id)
    return json_answer(body)


async def get_image(call: Call) -> Response:
    return json_answer(image_view((await call.image()).value))


async def update_image(call: Call) -> Response:
    media = call.request.headers.get("content-type", "").partition(";")[0].strip()
    if media not in MEDIA_TYPES:
        raise UnsupportedMediaType(f"Content-Type must be {MEDIA_TYPES[0]}.")
    changes = parse_patch(await read_json(call.request))
    return json_answer(image_view(await call.change(partial(_patched, call, changes))))


async def delete_image(call: Call) -> Response:
    await call.desk.shelf.delete(call.who, call.part("image"))
    return Response(status_code=204)


async def act_on_image(call: Call) -> Response:
    """Deactivate and reactivate: whether anybody but admins may have the bytes."""
    action = call.part("action")
    if action not in TOGGLES:
        raise BadRequest(f"There is no action {action}: it is one of {', '.join(TOGGLES)}.")
    await call.change(partial(_toggled, action), action)
    return Response(status_code=204)


async def add_tag(call: Call) -> Response:
    tag = call.part("tag")

    def tagged(image: Image) -> Image:
        more = evolve(image, tags=checked("tags", [*image.tags, tag]))
        require_quotas(more, ("tags",))
        return more

    await call.change(tagged)
    return Response(status_code=204)


async def delete_tag(call: Call) -> Response:
    tag = call.part("tag")

    def untagged(image: Image) -> Image:
        if tag not in image.tags:
            raise NotFound("The tag could not be found.")
        return evolve(image, tags=tuple(t for t in image.tags if t != tag))

    await call.change(untagged)
    return Response(status_code=204)


async def _commit_new(call: Call, image: Image, *, chosen: bool) -> None:
    store = call.desk.store
    for _ in range(TRIES):
        txn = Txn("image-create").create(Global.IMAGES(image.id), image)
        if chosen:
            _choose_id(call, image.id, txn)
        await charge(store, txn, image.owner, 1, 0, call.limits)
        try:
            await store.commit(txn)
        except CompareFailed as error:
            if any(await store.read(Global.IMAGES(image.id), Global.IMAGE_IDS(image.id))):
                raise _id_taken(image.id) from error
            continue  # another image of the project was made or deleted
        return
    raise Conflict("Other images of the project keep being changed: try again.")


def _choose_id(call: Call, image_id: str, txn: Txn) -> None:
    """Adds to `txn` that nobody had the id before and nobody will have it again. Raises Forbidden or Conflict."""
    if not call.who.is_admin:
        raise Forbidden("Only administrators may choose the id of an image: leave id out.")
    if call.desk.ids.has_mark(image_id):
        raise _id_taken(image_id)
    txn.create(Global.IMAGE_IDS(image_id), NameIndex(image_id))


def _id_taken(image_id: str) -> Conflict:
    return Conflict(f"Image ID {image_id} already exists!")


def new_image(body: dict[str, Any], project: str, now: datetime, image_id: str) -> Image:
    """From the body of a POST, for `project` if it names no owner, with `image_id` if it names none.

    Raises:
        BadRequest, Forbidden, TooLarge: In Glance's words.
    """
    fields: dict[str, Any] = {"owner": project, "name": None}
    properties: dict[str, str] = {}
    for name, value in body.items():
        require_unreserved(name)
        if name == "id":
            image_id = str(UUID(checked(name, value)))
        elif name in BY_NAME:
            fields[writable(name).field] = checked(name, value)
        else:
            properties[name] = checked(name, value)
    if not fields["owner"]:
        raise BadRequest("An image must have an owner: scope the token to a project.")
    image = Image(id=image_id, created=now, updated=now, properties=properties, **fields)
    require_quotas(image)
    return image


def _patched(call: Call, changes: list[Change], image: Image) -> Image:
    changed = apply_patch(image, changes)
    if changed.owner != image.owner and not call.who.is_admin:
        raise Forbidden("You are not permitted to modify 'owner' on this image.")
    if changed.visibility != image.visibility:
        _check_visibility(call, changed)
    return changed


def _check_visibility(call: Call, image: Image) -> None:
    rule = VISIBILITY_RULES.get(image.visibility)
    if rule:
        check(call.desk.rules, rule, call.who, image)


def _toggled(action: str, image: Image) -> Image:
    before, after = TOGGLES[action]
    if image.status not in (before, after):
        raise Forbidden(f"Not allowed to {action} image in status '{image.status}'")
    return evolve(image, status=after)
