"""The resource classes that there are."""

from typing import Any

from os_resource_classes import STANDARDS

from control.placement.api import links
from control.placement.api.call import Answer, Call
from control.placement.api.handlers.erasure import erase, rename_class
from control.placement.api.schemas.resource_classes import NAME
from control.placement.forest import Forest
from control.placement.reading import Reading
from control.placement.vocabulary import STANDARD_CLASSES, in_order
from control.placement.writes import names as writes
from kv.keys import Global
from schemas.errors import BadRequest, Conflict


def _view(call: Call, name: str) -> dict[str, Any]:
    return {"name": name, "links": [{"rel": "self", "href": links.resource_class(call.mount, name)}]}


async def index(call: Call) -> Answer:
    await call.view.current()
    names = in_order(Reading(call.view), Global.RESOURCE_CLASSES, [*STANDARDS, *call.view.classes])
    return Answer({"resource_classes": [_view(call, name) for name in names]}, modified=call.now)


async def show(call: Call) -> Answer:
    name = call.params["name"]
    await call.view.current()
    writes.CLASSES.demand(Reading(call.view), name)
    stored = call.view.classes.get(name)
    return Answer(_view(call, name), modified=stored.value.updated if stored else call.now)


async def create(call: Call) -> Answer:
    name = call.body["name"]
    if not await call.writer.write(lambda reading: writes.create(reading, writes.CLASSES, name, call.now)):
        raise Conflict(f"Conflicting resource class already exists: {name}")
    return Answer(status=201, location=links.resource_class(call.mount, name))


async def put(call: Call) -> Answer:
    name = call.params["name"]
    NAME.validator(call.version).check({"name": name}, "JSON does not validate")
    new = await call.writer.write(lambda reading: writes.create(reading, writes.CLASSES, name, call.now))
    return Answer(status=201 if new else 204, location=links.resource_class(call.mount, name))


async def change_name(call: Call) -> Answer:
    """Until 1.6 PUT gave a class another name."""
    name, wanted = call.params["name"], call.body["name"]
    if name in STANDARD_CLASSES:
        raise BadRequest(f"Cannot update standard resource class {name}")
    await rename_class(call, name, wanted)
    return Answer(_view(call, wanted))


async def delete(call: Call) -> Answer:
    name = call.params["name"]
    if name in STANDARD_CLASSES:
        raise BadRequest(f"Error in delete resource class: Cannot delete standard resource class {name}.")
    refusal = Conflict(
        f"Error in delete resource class: Cannot delete resource class {name}. Class is in use in inventory."
    )
    await erase(call, writes.CLASSES, name, lambda forest: is_offered(forest, name), refusal)
    return Answer(status=204)


def is_offered(forest: Forest, name: str) -> bool:
    return any(name in node.inventories for node in forest.nodes.values())
