"""Stores of images' bytes: there is one."""

from typing import Final

from starlette.responses import Response

from control.identity.http import json_answer
from control.images.call import Call
from control.images.views import STORE
from schemas.errors import Forbidden, NotFound

BRIEF: Final = {"id": STORE, "description": "NATS JetStream object store", "default": "true"}


async def list_stores(_: Call) -> Response:
    return json_answer({"stores": [BRIEF]})


async def list_stores_in_detail(call: Call) -> Response:
    call.check("stores_info_detail")
    return json_answer({"stores": [{**BRIEF, "type": "jetstream", "weight": 0, "properties": {}}]})


async def delete_from_store(call: Call) -> Response:
    await call.image("delete_image_location")
    if call.part("store") != STORE:
        raise NotFound(f"Image {call.part('image')} is not stored in store {call.part('store')}.")
    raise Forbidden("Cannot delete image data from the only store containing it. Consider deleting the image instead.")
