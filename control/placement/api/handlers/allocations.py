"""What consumers hold."""

from collections.abc import Mapping
from typing import Any

from control.placement.api.call import Answer, Call
from control.placement.api.handlers.providers import found
from control.placement.api.provider_view import generation
from control.placement.api.validation import canonical, is_uuid
from control.placement.writes import allocations as writes
from control.placement.writes.allocations import ANY, Claim
from control.placement.writes.guards import GUARDS
from kv.txn import Stored
from schemas.errors import BadRequest, Conflict, NotFound
from schemas.placement import Allocation

DICTS_SINCE = 12
GENERATIONS_SINCE = 28
TYPES_SINCE = 38
UNKNOWN = "unknown"
"""how the type of a consumer without one is shown"""


async def of_consumer(call: Call) -> Answer:
    forest = await call.view.current()
    stored = forest.allocation(_consumer(call))
    if stored is None:
        return Answer({"allocations": {}}, modified=call.now)
    held = stored.value
    body: dict[str, Any] = {
        "allocations": {
            uuid: {"resources": amounts, "generation": generation(forest.nodes[uuid]) if uuid in forest.nodes else 0}
            for uuid, amounts in held.resources.items()
        }
    }
    if call.version >= DICTS_SINCE:
        body |= {"project_id": held.project, "user_id": held.user}
    if call.version >= GENERATIONS_SINCE:
        body["consumer_generation"] = held.generation
    if call.version >= TYPES_SINCE:
        body["consumer_type"] = held.type or UNKNOWN
    return Answer(body, modified=held.updated or held.created)


async def of_provider(call: Call) -> Answer:
    node = await found(call, "Resource provider '{0}' not found: No resource provider with uuid {0} found")
    there = call.view.forest.consumers.on(node.uuid)
    body = {
        "allocations": {s.value.consumer: _on_provider(call, s, node.uuid) for s in there},
        "resource_provider_generation": generation(node),
    }
    return Answer(body, modified=max((s.value.updated or s.value.created for s in there), default=call.now))


def _on_provider(call: Call, stored: Stored[Allocation], uuid: str) -> dict[str, Any]:
    held: dict[str, Any] = {"resources": stored.value.resources[uuid]}
    if call.version >= GENERATIONS_SINCE:
        held["consumer_generation"] = stored.value.generation
    return held


async def set_one(call: Call) -> Answer:
    consumer = call.params["consumer_uuid"]
    claim = parse(call, canonical(consumer), call.body)
    await write(call, [claim], f"Unable to allocate inventory for consumer {claim.consumer}: ")
    return Answer(status=204)


def check_consumer(call: Call) -> None:
    """Raises BadRequest."""
    if not is_uuid(call.params["consumer_uuid"]):
        raise BadRequest(f"Malformed consumer_uuid: {call.params['consumer_uuid']}")


async def set_many(call: Call) -> Answer:
    claims = [parse(call, consumer.lower(), body) for consumer, body in call.body.items()]
    await write(call, claims, "Unable to allocate inventory ")
    return Answer(status=204)


async def write(call: Call, claims: list[Claim], unknown: str) -> None:
    """`unknown` begins what is said of a class that does not exist."""
    forest = call.view.forest
    lanes = {uuid for claim in claims for uuid in claim.resources}
    for claim in claims:
        stored = forest.allocation(claim.consumer)
        lanes.update(stored.value.resources if stored else ())
    try:
        await call.writer.write(lambda reading: (writes.replace(reading, claims, call.now, GUARDS), None), lanes)
    except NotFound as error:
        raise BadRequest(f"{unknown}{error.message}") from None
    except Conflict as error:
        if type(error) is Conflict:
            raise Conflict(f"Unable to allocate inventory: {error.message}") from None
        raise


def parse(call: Call, consumer: str, body: Mapping[str, Any]) -> Claim:
    held = body["allocations"]
    if isinstance(held, list):
        resources = {canonical(one["resource_provider"]["uuid"]): one["resources"] for one in held}
    else:
        resources = {uuid.lower(): one["resources"] for uuid, one in held.items()}
    return Claim(
        consumer,
        resources,
        project=body.get("project_id", call.settings.incomplete_consumer_project_id),
        user=body.get("user_id", call.settings.incomplete_consumer_user_id),
        type=body.get("consumer_type"),
        generation=body["consumer_generation"] if call.version >= GENERATIONS_SINCE else ANY,
        group=call.memberships.of(consumer),
    )


async def release(call: Call) -> Answer:
    consumer = _consumer(call)
    stored = call.view.forest.allocation(consumer)
    lanes = stored.value.resources if stored else ()
    await call.writer.write(lambda reading: (writes.release(reading, consumer, call.now, GUARDS), None), lanes)
    return Answer(status=204)


def _consumer(call: Call) -> str:
    given = call.params["consumer_uuid"]
    return canonical(given) if is_uuid(given) else given
