"""Traits and aggregates of providers."""

from collections.abc import Iterable
from typing import Any

from control.placement.api.call import Answer, Call
from control.placement.api.handlers.providers import found
from control.placement.api.provider_view import generation, modified
from control.placement.reading import Reading
from control.placement.vocabulary import in_order
from control.placement.writes import belonging as writes
from kv.keys import Global

AGGREGATE_GENERATION_SINCE = 19
MISSING = "No resource provider with uuid {0} found: No resource provider with uuid {0} found"


async def show_traits(call: Call) -> Answer:
    node = await found(call, MISSING)
    names = _traits(call, call.view.forest.traits.names(node.traits))
    return Answer({"traits": names, "resource_provider_generation": generation(node)}, modified=modified(node))


async def set_traits(call: Call) -> Answer:
    uuid, given, traits = call.params["uuid"], call.body["resource_provider_generation"], set(call.body["traits"])
    raised = await call.writer.write(lambda reading: writes.set_traits(reading, uuid, given, traits, call.now), [uuid])
    return Answer({"traits": _traits(call, traits), "resource_provider_generation": raised}, modified=call.now)


async def clear_traits(call: Call) -> Answer:
    uuid = call.params["uuid"]
    await call.writer.write(lambda reading: writes.set_traits(reading, uuid, None, set(), call.now), [uuid])
    return Answer(status=204)


async def show_aggregates(call: Call) -> Answer:
    node = await found(call)
    return _aggregates(call, writes.aggregates_in_order(Reading(call.view), node.aggregates), generation(node))


async def set_aggregates(call: Call) -> Answer:
    uuid = call.params["uuid"]
    compares = call.version >= AGGREGATE_GENERATION_SINCE
    given = call.body["resource_provider_generation"] if compares else None
    aggregates: list[str] = call.body["aggregates"] if compares else list(call.body)
    raised = await call.writer.write(
        lambda reading: writes.set_aggregates(reading, uuid, given, aggregates, call.now), [uuid]
    )
    return _aggregates(call, aggregates, raised)


def _traits(call: Call, names: Iterable[str]) -> list[str]:
    return in_order(Reading(call.view), Global.TRAITS, names)


def _aggregates(call: Call, aggregates: list[str], raised: int) -> Answer:
    body: dict[str, Any] = {"aggregates": aggregates}
    if call.version >= AGGREGATE_GENERATION_SINCE:
        body["resource_provider_generation"] = raised
    return Answer(body, modified=call.now)
