"""Filters: each says of one host why it cannot take a request, or None. Named as Nova names them.

A third party's filter is a function of the same shape under the entry point group `kilonova.scheduler.filters`.
"""

import operator
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Final

from control.scheduler.model import HostState
from schemas.errors import KilonovaError
from schemas.server import RequestSpec

Filter = Callable[[HostState, RequestSpec], str | None]


class UnknownFilterError(KilonovaError):
    """`enabled_filters` names one that nobody provides."""


def compute(state: HostState, _: RequestSpec) -> str | None:
    """The host is enabled and its agent is heard of."""
    mapping = state.mapping
    if mapping is None or mapping.value.disabled:
        return "disabled"
    if mapping.value.forced_down:
        return "forced down"
    return None if state.alive else "down"


def image_properties(state: HostState, request: RequestSpec) -> str | None:
    """Architecture and hypervisor type that the image asks for."""
    if request.image is None or not request.image.properties or state.facts is None:
        return None
    wanted = request.image.properties
    arch = wanted.get("hw_architecture") or wanted.get("architecture")
    if arch and arch not in state.facts.architectures:
        return f"has no architecture {arch}"
    kind = wanted.get("img_hv_type") or wanted.get("hypervisor_type")
    if kind and kind.lower() not in (state.facts.hypervisor_type.lower(), "qemu" if _is_kvm(state) else ""):
        return f"is not of hypervisor type {kind}"
    return None


def compute_capabilities(state: HostState, request: RequestSpec) -> str | None:
    """Extra specs `capabilities:KEY` (or without any scope) against what the host reports."""
    for key, wanted in request.flavor.extra_specs.items():
        scope, _, name = key.rpartition(":")
        if scope not in ("", "capabilities"):
            continue
        found = _capability(state, name)
        if found is None or not matches(wanted, found):
            return f"lacks capability {name} {wanted}"
    return None


def _is_kvm(state: HostState) -> bool:
    return state.facts is not None and state.facts.hypervisor_type.lower() == "kvm"


def _capability(state: HostState, name: str) -> str | None:
    facts = state.facts
    if facts is None:
        return None
    known = {
        "hypervisor_type": facts.hypervisor_type,
        "hypervisor_version": facts.hypervisor_version,
        "hypervisor_hostname": facts.hypervisor_hostname,
        "vcpus_total": facts.vcpus,
        "total_usable_ram_mb": facts.memory_mb,
        **facts.cpu_info,
    }
    value = known.get(name)
    return None if value is None else str(value)


_NUMERIC: Final = {"=": operator.ge, ">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne}
_TEXTUAL: Final = {
    "s==": operator.eq,
    "s!=": operator.ne,
    "s>=": operator.ge,
    "s>": operator.gt,
    "s<=": operator.le,
    "s<": operator.lt,
}


def matches(wanted: str, found: str) -> bool:
    """Nova's extra spec operators; a plain value means equality, `=` means at least."""
    words = wanted.split()
    if not words:
        return found == ""
    sign, rest = words[0], words[1:]
    if sign in _NUMERIC and rest:
        try:
            return bool(_NUMERIC[sign](float(found), float(rest[0])))
        except ValueError:
            return False
    if sign in _TEXTUAL and rest:
        return bool(_TEXTUAL[sign](found, rest[0]))
    if sign == "<in>":
        return " ".join(rest) in found
    if sign == "<all-in>":
        return all(word in found for word in rest)
    if sign == "<or>":
        return found in [word for word in rest if word != "<or>"]
    return found == wanted


BUILT_IN: Final[Mapping[str, Filter]] = MappingProxyType(
    {
        "ComputeFilter": compute,
        "ComputeCapabilitiesFilter": compute_capabilities,
        "ImagePropertiesFilter": image_properties,
    }
)


def load_filters(names: tuple[str, ...]) -> dict[str, Filter]:
    """In this order. Raises UnknownFilterError."""
    foreign = {e.name: e for e in entry_points(group="kilonova.scheduler.filters")}
    loaded: dict[str, Filter] = {}
    for name in names:
        if name in BUILT_IN:
            loaded[name] = BUILT_IN[name]
        elif name in foreign:
            loaded[name] = foreign[name].load()
        else:
            raise UnknownFilterError(f"no filter is called {name}; known: {', '.join([*BUILT_IN, *foreign])}")
    return loaded
