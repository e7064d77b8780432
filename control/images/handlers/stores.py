"""Stores of images' bytes: there is one."""

from starlette.responses import Response

from control.identity.http import json_answer
from control.images.call import Call
from control.images.views import STORE
from schemas.errors import Forbidden, NotFound


async def list_stores(call: Call) -> Response:
    text = "NATS JetStream object store"
    return json_answer({"stores": [{"id": STORE, "description": text, "default": "true"}]})


async def delete_from_store(call: Call) -> Response:
    await call.image("delete_image_location")
    if call.part("store") != STORE:
        raise NotFound(f"Image {call.part('image')} is not stored in store {call.part('store')}.")
    raise Forbidden("Cannot delete image data from the only store containing it. Consider deleting the image instead.")
