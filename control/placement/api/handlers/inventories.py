"""What providers offer."""

from typing import Any

from control.placement.api import links
from control.placement.api.call import Answer, Call
from control.placement.api.handlers.providers import found
from control.placement.api.provider_view import generation, modified
from control.placement.writes import inventories as writes
from schemas.errors import BadRequest, NotFound
from schemas.placement import Inventory

ALL_RESERVED_SINCE = 26
MISSING = "No resource provider with uuid {0} found : No resource provider with uuid {0} found"


def parse(name: str, body: dict[str, Any]) -> Inventory:
    """Raises BadRequest; for names that no schema looks at, anything may come."""
    try:
        fields = {k: v for k, v in body.items() if k not in ("resource_provider_generation", "resource_class")}
        return Inventory(**fields)
    except (TypeError, AttributeError) as error:
        raise BadRequest(f"Bad inventory {name}: {error}") from None


async def index(call: Call) -> Answer:
    node = await found(call, MISSING)
    return _all(call, node.inventories, generation(node))


async def show(call: Call) -> Answer:
    node = await found(call, MISSING)
    name = call.params["resource_class"]
    inventory = node.inventories.get(name)
    if inventory is None:
        raise NotFound(f"No inventory of class {name} for {node.uuid}")
    body = {**_view(inventory), "resource_provider_generation": generation(node)}
    return Answer(body, modified=modified(node))


async def replace(call: Call) -> Answer:
    uuid, given = call.params["uuid"], call.body["resource_provider_generation"]
    offered = {name: parse(name, body) for name, body in call.body["inventories"].items()}
    reserve_all = call.version >= ALL_RESERVED_SINCE
    raised = await call.writer.write(
        lambda reading: writes.replace(reading, uuid, given, offered, call.now, reserve_all=reserve_all), [uuid]
    )
    return _all(call, offered, raised)


async def add(call: Call) -> Answer:
    uuid, name = call.params["uuid"], call.body["resource_class"]
    inventory = parse(name, call.body)
    reserve_all = call.version >= ALL_RESERVED_SINCE
    raised = await call.writer.write(
        lambda reading: writes.add(reading, uuid, name, inventory, call.now, reserve_all=reserve_all), [uuid]
    )
    return _one(call, inventory, raised, 201, links.inventory(call.mount, uuid, name))


async def update(call: Call) -> Answer:
    uuid, name = call.params["uuid"], call.params["resource_class"]
    given, inventory = call.body["resource_provider_generation"], parse(name, call.body)
    reserve_all = call.version >= ALL_RESERVED_SINCE
    raised = await call.writer.write(
        lambda reading: writes.update(reading, uuid, given, name, inventory, call.now, reserve_all=reserve_all), [uuid]
    )
    return _one(call, inventory, raised)


async def clear(call: Call) -> Answer:
    uuid = call.params["uuid"]
    await call.writer.write(lambda reading: writes.clear(reading, uuid, call.now), [uuid])
    return Answer(status=204)


async def remove(call: Call) -> Answer:
    uuid, name = call.params["uuid"], call.params["resource_class"]
    await call.writer.write(lambda reading: writes.remove(reading, uuid, name, call.now), [uuid])
    return Answer(status=204)


def _view(inventory: Inventory) -> dict[str, Any]:
    return {
        "total": inventory.total,
        "reserved": inventory.reserved,
        "min_unit": inventory.min_unit,
        "max_unit": inventory.max_unit,
        "step_size": inventory.step_size,
        "allocation_ratio": inventory.allocation_ratio,
    }


def _all(call: Call, inventories: dict[str, Inventory], raised: int) -> Answer:
    body = {
        "resource_provider_generation": raised,
        "inventories": {name: _view(inventory) for name, inventory in inventories.items()},
    }
    return Answer(body, modified=call.now)


def _one(call: Call, inventory: Inventory, raised: int, status: int = 200, location: str | None = None) -> Answer:
    body = {**_view(inventory), "resource_provider_generation": raised}
    return Answer(body, status, location, call.now)
