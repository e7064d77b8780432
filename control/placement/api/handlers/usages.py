"""What is used: of a provider, by a project."""

from typing import Any

from control.placement.api.call import Answer, Call
from control.placement.api.handlers.providers import found
from control.placement.api.provider_view import generation
from control.placement.consumers import Sum
from control.placement.query import UsageQuery

TYPES_SINCE = 38
ALL = "all"
"""a consumer type of queries: every type, summed up under this name"""
UNKNOWN = "unknown"
MISSING = "No resource provider with uuid {0} found: No resource provider with uuid {0} found"


async def of_provider(call: Call) -> Answer:
    node = await found(call, MISSING)
    used = {name: node.used.get(name, 0) for name in {**node.inventories, **node.used}}
    return Answer({"resource_provider_generation": generation(node), "usages": used}, modified=call.now)


async def of_project(call: Call) -> Answer:
    kind = call.arg("consumer_type")
    query = UsageQuery(call.query["project_id"][-1], call.arg("user_id"), None if kind == ALL else kind)
    sums = (await call.view.current()).consumers.sums(query)
    if call.version < TYPES_SINCE:
        return Answer({"usages": _total(sums).amounts}, modified=call.now)
    if kind == ALL:
        sums = {ALL: _total(sums)} if sums else {}
    body: dict[str, Any] = {
        name or UNKNOWN: {"consumer_count": total.consumers, **total.amounts} for name, total in sums.items()
    }
    return Answer({"usages": body}, modified=call.now)


def _total(sums: dict[str | None, Sum]) -> Sum:
    total = Sum()
    for one in sums.values():
        total.consumers += one.consumers
        total.add(one.amounts)
    return total
