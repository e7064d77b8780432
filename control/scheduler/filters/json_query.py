"""JsonFilter: the hint `query` is an expression such as `["and", [">=", "$free_ram_mb", 1024]]`."""

import json
import operator
from collections.abc import Callable
from typing import Any, Final

from control.scheduler.filters.shapes import HostFilter, MaskFilter
from control.scheduler.model import HostState
from control.scheduler.request import Request

_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


def query(state: HostState, request: Request) -> str | None:
    asked = request.spec.scheduler_hints["query"]
    try:
        passed = bool(_evaluate(json.loads(asked) if isinstance(asked, str) else asked, state))
    except (ValueError, TypeError, KeyError):
        passed = False
    return None if passed else "the query does not hold"


def _evaluate(node: Any, state: HostState) -> Any:
    """Raises KeyError for an unknown operator, TypeError where values cannot be compared."""
    if isinstance(node, str) and node.startswith("$"):
        return _variable(node[1:], state)
    if not isinstance(node, list):
        return node
    if not node:
        return True
    sign, values = node[0], [_evaluate(n, state) for n in node[1:]]
    if sign == "not":
        return not any(values)
    if sign in ("and", "or"):
        return (all if sign == "and" else any)(values)
    if sign == "in":
        return values[0] in values[1:]
    compare = _COMPARE[sign]
    return bool(values) and all(compare(values[0], other) for other in values[1:])


def _variable(path: str, state: HostState) -> Any:
    """None for what is not known."""
    facts = state.facts
    if facts is None:
        return None
    used = state.usages.value.used if state.usages else {}
    value: Any = {
        "host": state.host,
        "free_ram_mb": facts.memory_mb - used.get("MEMORY_MB", 0),
        "total_usable_ram_mb": facts.memory_mb,
        "free_disk_mb": (facts.local_gb - used.get("DISK_GB", 0)) * 1024,
        "total_usable_disk_gb": facts.local_gb,
        "vcpus_total": facts.vcpus,
        "vcpus_used": used.get("VCPU", 0),
        "num_io_ops": facts.io_ops,
        "num_instances": len(state.servers),
        "hypervisor_type": facts.hypervisor_type,
        "hypervisor_version": facts.hypervisor_version,
        "hypervisor_hostname": facts.hypervisor_hostname,
        "cpu_info": facts.cpu_info,
    }
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


FILTERS: Final[dict[str, HostFilter | MaskFilter]] = {
    "JsonFilter": HostFilter(query, wanted=lambda r: bool(r.spec.scheduler_hints.get("query"))),
}
