"""Images through the compute API, as old clients ask for them."""

from collections.abc import Callable
from typing import Final
from weakref import WeakKeyDictionary

from attrs import evolve

from control.compute.call import Body, Call
from control.compute.paging import limit_of, with_next
from control.compute.views import images as views
from control.images.app import open_blobs
from control.images.attributes import BY_NAME, checked, require_unreserved
from control.images.policy import DEFAULTS, check
from control.images.query import Query, page
from control.images.shelf import Shelf
from control.rules import Rules
from control.servers.quota import limits_of
from control.top import Top
from kv.keys import Global
from schemas.errors import BadRequest, Forbidden, NotFound
from schemas.image import Image

FILTERS: Final = {
    "name": "name",
    "server": "instance_uuid",
    "type": "image_type",
    "minRam": "min_ram",
    "minDisk": "min_disk",
}
_NONE: Final = "Image not found."

_shelves: WeakKeyDictionary[Top, Shelf] = WeakKeyDictionary()


async def index(call: Call) -> Body:
    return await _list(call, views.brief)


async def detail(call: Call) -> Body:
    return await _list(call, views.full)


async def show(call: Call) -> Body:
    return {"image": views.full(await _image(call), call.urls, _service(call))}


async def delete(call: Call) -> None:
    try:
        await _shelf(call.top).delete(call.identity, call.params["image"])
    except NotFound:
        raise NotFound(_NONE) from None
    except Forbidden:
        raise Forbidden("You are not allowed to delete the image.") from None


async def metadata(call: Call) -> Body:
    return {"metadata": (await _image(call)).properties}


async def metadata_item(call: Call) -> Body:
    properties, key = (await _image(call)).properties, call.params["id"]
    if key not in properties:
        raise NotFound("The resource could not be found.")
    return {"meta": {key: properties[key]}}


async def add_metadata(call: Call) -> Body:
    return {"metadata": await _write(call, lambda before: {**before, **call.body["metadata"]})}


async def replace_metadata(call: Call) -> Body:
    return {"metadata": await _write(call, lambda _: dict(call.body["metadata"]))}


async def set_metadata_item(call: Call) -> Body:
    meta, key = call.body["meta"], call.params["id"]
    if key not in meta:
        raise BadRequest("Request body and URI mismatch")
    await _write(call, lambda before: {**before, **meta})
    return {"meta": meta}


async def delete_metadata_item(call: Call) -> None:
    key = call.params["id"]

    def without(before: dict[str, str]) -> dict[str, str]:
        if key not in before:
            raise NotFound("Invalid metadata key")
        return {name: value for name, value in before.items() if name != key}

    await _write(call, without)


async def _list(call: Call, view: Callable[..., Body]) -> Body:
    """Newest first. It costs all images of the site."""
    shelf = _shelf(call.top)
    check(shelf.rules, "get_images", call.identity)
    filters = [(name, value) for asked, name in FILTERS.items() if (value := call.arg(asked))]
    if status := call.arg("status"):
        filters.append(("status", status.lower()))
    if since := call.arg("changes-since"):
        filters.append(("updated_at", f"gte:{since}"))
    server = dict(filters).get("instance_uuid", "")
    filters = [(n, server.rsplit("/", 1)[-1] if n == "instance_uuid" else v) for n, v in filters]
    query = Query(tuple(filters), (), "", "accepted", (("created_at", True),), limit_of(call), call.arg("marker"))
    found, _ = page((s.value for s in await call.top.store.range(Global.IMAGES.under())), query, call.identity)
    shown = [view(image, call.urls, _service(call)) for image in found]
    return with_next(call, "images", shown, found[-1].id if found else None)


async def _image(call: Call) -> Image:
    try:
        return (await _shelf(call.top).image(call.identity, call.params["image"])).value
    except NotFound:
        raise NotFound(_NONE) from None


async def _write(call: Call, how: Callable[[dict[str, str]], dict[str, str]]) -> dict[str, str]:
    """Raises Forbidden for more than the quota of items, BadRequest for names that are no properties."""
    limits = await limits_of(call.top.store, call.identity.project, call.identity.user)
    limit = limits.user["metadata_items"]

    def write(image: Image) -> Image:
        properties = how(image.properties)
        for name in properties.keys() - image.properties.keys():
            require_unreserved(name)
            if name in BY_NAME:
                raise BadRequest(f"{name} is no property of an image but a part of it")
            checked(name, properties[name])
        if 0 <= limit < len(properties):
            raise Forbidden("Image metadata limit exceeded")
        return evolve(image, properties=properties)

    try:
        return (await _shelf(call.top).change(call.identity, call.params["image"], write)).properties
    except NotFound as error:
        raise (error if error.message == "Invalid metadata key" else NotFound(_NONE)) from None


def _shelf(top: Top) -> Shelf:
    if top not in _shelves:
        file = top.settings.api.image_policy_file
        _shelves[top] = Shelf(top.store, open_blobs(top), Rules(DEFAULTS, file, setting="api.image_policy_file"))
    return _shelves[top]


def _service(call: Call) -> str:
    return f"{call.top.settings.api.url}/image"
