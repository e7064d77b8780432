"""JsonFilter: the hint `query` is an expression such as `["and", [">=", "$free_ram_mb", 1024]]`."""

import json
import operator
from collections.abc import Callable
from typing import Any, Final

from control.scheduler.filters.attributes import attribute
from control.scheduler.filters.shapes import HostFilter, MaskFilter
from control.scheduler.model import HostState
from control.scheduler.request import Request

_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
    "in": operator.contains,
}


def query(state: HostState, request: Request) -> str | None:
    asked = request.spec.scheduler_hints["query"]
    try:
        passed = bool(_evaluate(json.loads(asked) if isinstance(asked, str) else asked, state))
    except (ValueError, TypeError, KeyError):
        passed = False
    return None if passed else "the query does not hold"


def _evaluate(node: Any, state: HostState) -> Any:
    """What is not known is left out, and a comparison with nothing fails, as in Nova. Raises KeyError for an unknown
    operator, TypeError where values cannot be compared."""
    if node == "$num_instances":
        return len(state.servers)
    if isinstance(node, str) and node.startswith("$"):
        return attribute(state, node[1:].split("."))
    if not isinstance(node, list):
        return node
    if not node:
        return True
    sign, found = node[0], [_evaluate(n, state) for n in node[1:]]
    values = [value for value in found if value is not None]
    if sign in ("and", "or"):
        return (all if sign == "and" else any)(values)
    if sign == "not":
        return not all(values)
    compare = _COMPARE[sign]
    if len(values) < 2:
        return False
    first, *others = values
    return first in others if sign == "in" else all(compare(first, other) for other in others)


FILTERS: Final[dict[str, HostFilter | MaskFilter]] = {
    "JsonFilter": HostFilter(query, wanted=lambda r: bool(r.spec.scheduler_hints.get("query")), counts=True),
}
