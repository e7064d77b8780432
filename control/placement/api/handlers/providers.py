"""Resource providers."""

from typing import Any
from uuid import uuid4

from control.placement.api import links, parsing
from control.placement.api.call import Answer, Call
from control.placement.api.provider_view import modified, provider_view
from control.placement.api.validation import canonical
from control.placement.fitting import providers_matching
from control.placement.forest import Node
from control.placement.query import ProviderQuery
from control.placement.reading import Reading
from control.placement.vocabulary import unknown_classes, unknown_traits
from control.placement.writes import providers as writes
from kv.txn import Txn
from schemas.errors import BadRequest, NotFound
from schemas.placement import Provider

RETURNED_SINCE = 20
"""before, a new provider was answered by its address alone"""
MOVED_SINCE = 37


async def show(call: Call) -> Answer:
    node = await found(call)
    return Answer(provider_view(node, call.mount, call.version), modified=modified(node))


async def found(call: Call, message: str = "No resource provider with uuid {0} found") -> Node:
    """The provider that the path names, as it is now. Raises NotFound with that message."""
    uuid = call.params["uuid"]
    node = (await call.view.current()).get(uuid)
    if node is None:
        raise NotFound(message.format(uuid))
    return node


async def index(call: Call) -> Answer:
    query = ProviderQuery(
        name=call.arg("name") or None,  # an empty one asks for nothing
        uuid=_uuid(call.arg("uuid")),
        in_tree=_uuid(call.arg("in_tree")),
        aggregates=parsing.aggregates(call.query.get("member_of", []), call.version),
        traits=parsing.traits(call.query.get("required", []), call.version),
        resources=parsing.resources(call.query["resources"][-1]) if "resources" in call.query else {},
    )
    forest = await call.view.current()
    reading = Reading(call.view)
    missing = unknown_classes(reading, query.resources)
    if missing:
        raise BadRequest(f"Invalid resource class in resources parameter: No such resource class {missing[0]}.")
    missing = unknown_traits(reading, query.traits.names())
    if missing:
        raise BadRequest(f'Invalid trait(s) in "required" parameter: No such trait(s): {", ".join(missing)}.')
    nodes = providers_matching(forest, query)
    body = {"resource_providers": [provider_view(node, call.mount, call.version) for node in nodes]}
    return Answer(body, modified=max(map(modified, nodes), default=call.now))


def _uuid(text: str | None) -> str | None:
    return canonical(text) if text is not None else None


async def create(call: Call) -> Answer:
    parent = call.body.get("parent_provider_uuid")
    new = Provider(
        uuid=canonical(call.body["uuid"]) if "uuid" in call.body else str(uuid4()),
        name=call.body["name"],
        inventories={},
        parent=_uuid(parent),
        updated=call.now,
    )
    await call.writer.write(lambda reading: (writes.create(reading, new), None), [new.parent] if new.parent else ())
    location = links.provider(call.mount, new.uuid)
    if call.version < RETURNED_SINCE:
        return Answer(status=201, location=location)
    node = call.view.forest.get(new.uuid)  # the view has learned it
    if node is None:
        raise NotFound(f"No resource provider with uuid {new.uuid} found: it was deleted at once")
    return Answer(provider_view(node, call.mount, call.version), 200, location, modified(node), always=True)


async def change(call: Call) -> Answer:
    uuid, name = call.params["uuid"], call.body["name"]
    moves = "parent_provider_uuid" in call.body
    freely = call.version >= MOVED_SINCE

    def decide(reading: Any) -> tuple[Txn, None]:
        parent = _uuid(call.body["parent_provider_uuid"]) if moves else writes.find(reading, uuid).provider.value.parent
        return writes.rename(reading, uuid, name, parent, call.now, freely=freely), None

    await call.writer.write(decide, [uuid])
    node = call.view.forest.get(uuid)
    if node is None:
        raise NotFound(f"No resource provider with uuid {uuid} found: it was deleted at once")
    return Answer(provider_view(node, call.mount, call.version), modified=modified(node))


async def delete(call: Call) -> Answer:
    uuid = call.params["uuid"]
    await call.writer.write(lambda reading: (writes.delete(reading, uuid), None), [uuid])
    return Answer(status=204)
