"""What the metadata of a host's aggregates say."""

from typing import Final

from control.scheduler.filters.compute import matches
from control.scheduler.filters.shapes import HostFilter, MaskFilter
from control.scheduler.model import HostState
from control.scheduler.request import Request

_SCOPE: Final = "aggregate_instance_extra_specs"


def extra_specs(state: HostState, request: Request) -> str | None:
    """Every spec of the scope (or without any) is met by a value of one of the host's aggregates."""
    for key, wanted in request.extra_specs.items():
        scope, divided, name = key.partition(":")
        if divided and scope != _SCOPE:
            continue
        name = name or scope
        values = _words(state, name)
        if not any(matches(wanted, value) for value in values):
            return f"no aggregate has {name} {wanted}"
    return None


def _has_specs(request: Request) -> bool:
    return any(":" not in key or key.startswith(f"{_SCOPE}:") for key in request.extra_specs)


def image_properties(state: HostState, request: Request) -> str | None:
    """An aggregate that speaks of a property takes only images that have one of its values, or none."""
    options = request.settings.filter_scheduler
    begin = options.aggregate_image_properties_isolation_namespace
    begin = begin and begin + options.aggregate_image_properties_isolation_separator
    keys = {key for aggregate in state.aggregates for key in aggregate.metadata}
    for key in sorted(keys & request.properties.keys()):
        if key.startswith(begin) and request.properties[key] not in _words(state, key):
            return f"isolated to images with another {key}"
    return None


def tenants(state: HostState, request: Request) -> str | None:
    """Aggregates with `filter_tenant_id` keys take only these projects."""
    named = {
        value
        for aggregate in state.aggregates
        for key, text in aggregate.metadata.items()
        if key.startswith("filter_tenant_id")
        for value in _split(text)
    }
    return "isolated to other projects" if named and request.spec.project not in named else None


def flavor(state: HostState, request: Request) -> str | None:
    """Aggregates with `instance_type` take only flavors of these names."""
    named = _words(state, "instance_type")
    return "isolated to other flavors" if named and request.spec.flavor.name not in named else None


def instances(state: HostState, request: Request) -> str | None:
    limit = _least(state, "max_instances_per_host", request.settings.filter_scheduler.max_instances_per_host)
    return f"has {limit} instances already" if len(state.servers) >= limit else None


def io_ops(state: HostState, request: Request) -> str | None:
    limit = _least(state, "max_io_ops_per_host", request.settings.filter_scheduler.max_io_ops_per_host)
    return f"has {limit} I/O operations already" if state.facts and state.facts.io_ops >= limit else None


def _least(state: HostState, key: str, default: int) -> int:
    """The smallest number that an aggregate sets, as in Nova; what is no number counts as not set."""
    numbers = [int(v) for v in _words(state, key) if v.isdecimal()]
    return min(numbers, default=default)


def _words(state: HostState, key: str) -> frozenset[str]:
    """Aggregates may give several values divided by commas."""
    return frozenset(word for text in state.metadata(key) for word in _split(text))


def _split(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


FILTERS: Final[dict[str, HostFilter | MaskFilter]] = {
    "AggregateInstanceExtraSpecsFilter": HostFilter(extra_specs, wanted=_has_specs),
    "AggregateImagePropertiesIsolation": HostFilter(
        image_properties, wanted=lambda r: bool(r.properties), on_rebuild=True
    ),
    "AggregateMultiTenancyIsolation": HostFilter(tenants),
    "AggregateTypeAffinityFilter": HostFilter(flavor),
    "AggregateNumInstancesFilter": HostFilter(instances, counts=True),
    "AggregateIoOpsFilter": HostFilter(io_ops),
}
