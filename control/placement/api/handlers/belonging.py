"""Traits and aggregates of providers."""

from typing import Any

from control.placement.api.call import Answer, Call
from control.placement.api.handlers.providers import found
from control.placement.api.provider_view import generation, modified
from control.placement.api.validation import canonical
from control.placement.writes import belonging as writes

AGGREGATE_GENERATION_SINCE = 19
MISSING = "No resource provider with uuid {0} found: No resource provider with uuid {0} found"


async def show_traits(call: Call) -> Answer:
    node = await found(call, MISSING)
    names = call.view.forest.traits.names(node.traits)
    return Answer({"traits": names, "resource_provider_generation": generation(node)}, modified=modified(node))


async def set_traits(call: Call) -> Answer:
    uuid, given, traits = call.params["uuid"], call.body["resource_provider_generation"], set(call.body["traits"])
    raised = await call.writer.write(lambda reading: writes.set_traits(reading, uuid, given, traits, call.now), [uuid])
    return Answer({"traits": sorted(traits), "resource_provider_generation": raised}, modified=call.now)


async def clear_traits(call: Call) -> Answer:
    uuid = call.params["uuid"]
    await call.writer.write(lambda reading: writes.set_traits(reading, uuid, None, set(), call.now), [uuid])
    return Answer(status=204)


async def show_aggregates(call: Call) -> Answer:
    node = await found(call)
    return _aggregates(call, sorted(node.aggregates), generation(node))


async def set_aggregates(call: Call) -> Answer:
    uuid = call.params["uuid"]
    compares = call.version >= AGGREGATE_GENERATION_SINCE
    given = call.body["resource_provider_generation"] if compares else None
    aggregates = {canonical(a) for a in (call.body["aggregates"] if compares else call.body)}
    raised = await call.writer.write(
        lambda reading: writes.set_aggregates(reading, uuid, given, aggregates, call.now), [uuid]
    )
    return _aggregates(call, sorted(aggregates), raised)


def _aggregates(call: Call, aggregates: list[str], raised: int) -> Answer:
    body: dict[str, Any] = {"aggregates": aggregates}
    if call.version >= AGGREGATE_GENERATION_SINCE:
        body["resource_provider_generation"] = raised
    return Answer(body, modified=call.now)
