"""What the host is and whether it serves."""

import operator
from collections.abc import Callable, Iterable
from typing import Final

from control.scheduler.columns import Column
from control.scheduler.filters.attributes import attribute
from control.scheduler.filters.shapes import HostFilter, MaskFilter
from control.scheduler.model import HostState, Model
from control.scheduler.request import Request

DOWN: Final = "down"
"""not heard of"""


def serving(model: Model, _: Request) -> Iterable[tuple[str, Column]]:
    """Enabled, by its operator and by its agent, and heard of."""
    flags = model.flags
    yield "disabled", flags["disabled"]
    yield "forced down", flags["forced_down"]
    yield "disabled by itself: its hypervisor stopped its first guest", flags["refuses"]
    yield DOWN, ~flags["alive"]


def capabilities(state: HostState, request: Request) -> str | None:
    """Extra specs `capabilities:KEY` against what the host reports; those without any scope are not for this filter
    when the host reports nothing of that name, as in Nova."""
    for key, name in capability_keys(request):
        wanted = request.extra_specs[key]
        found = attribute(state, name.split(":"))
        if found is None and key == name:
            continue
        if found is None or not matches(wanted, str(found)):
            return f"lacks capability {name} {wanted}"
    return None


def capability_keys(request: Request) -> list[tuple[str, str]]:
    """Extra specs that name a capability, and its name, which may have parts divided by `:`."""
    found = []
    for key in request.extra_specs:
        scope, _, rest = key.partition(":")
        if not rest:
            found.append((key, key))
        elif scope == "capabilities":
            found.append((key, rest))
    return found


_NUMERIC: Final[dict[str, Callable[[float, float], bool]]] = {
    "=": operator.ge,
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
_TEXTUAL: Final[dict[str, Callable[[str, str], bool]]] = {
    "s==": operator.eq,
    "s!=": operator.ne,
    "s>=": operator.ge,
    "s>": operator.gt,
    "s<=": operator.le,
    "s<": operator.lt,
}


def matches(wanted: str, found: str) -> bool:
    """Nova's extra spec operators; a plain value means equality, `=` means at least."""
    sign, *rest = wanted.split() or [""]
    if sign == "<or>":
        return found in [word for word in rest if word != "<or>"]
    if sign not in _NUMERIC and sign not in _TEXTUAL and sign not in ("<in>", "<all-in>"):
        return found == wanted
    if not rest:
        return False
    if sign == "<in>":
        return rest[0] in found
    if sign == "<all-in>":
        return all(word in found for word in rest)
    if sign in _TEXTUAL:
        return bool(_TEXTUAL[sign](found, rest[0]))
    try:
        return bool(_NUMERIC[sign](float(found), float(rest[0])))
    except ValueError:
        return False


def metrics(state: HostState, request: Request) -> str | None:
    """The host reports every metric that is weighed."""
    reported = state.facts.metrics if state.facts else {}
    missing = next((m for m in weighed_metrics(request) if m not in reported), None)
    return f"reports no metric {missing}" if missing else None


def weighed_metrics(request: Request) -> dict[str, float]:
    """`weight_setting` of Nova's `[metrics]`."""
    return weight_setting(request.settings.metrics.weight_setting)


def weight_setting(pairs: Iterable[str]) -> dict[str, float]:
    """`name=ratio` pairs; what is no number counts 1."""
    found = {}
    for pair in pairs:
        name, _, ratio = pair.partition("=")
        try:
            found[name.strip()] = float(ratio) if ratio else 1.0
        except ValueError:
            found[name.strip()] = 1.0
    return found


def _metrics_wanted(request: Request) -> bool:
    return bool(request.settings.metrics.weight_setting)


FILTERS: Final[dict[str, HostFilter | MaskFilter]] = {
    "AllHostsFilter": MaskFilter(lambda _, __: ()),
    "ComputeFilter": MaskFilter(serving),
    "ComputeCapabilitiesFilter": HostFilter(capabilities, wanted=lambda r: bool(capability_keys(r))),
    "MetricsFilter": HostFilter(metrics, wanted=_metrics_wanted),
}
