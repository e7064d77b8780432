"""THE table of host filters, and how those that are enabled are found."""

from importlib.metadata import entry_points
from typing import Final

from control.scheduler.filters import affinity, aggregates, compute, counts, images, json_query, topology
from control.scheduler.filters.shapes import Filter, HostFilter, MaskFilter
from schemas.errors import KilonovaError

BUILT_IN: Final[dict[str, Filter]] = {
    **compute.FILTERS,
    **images.FILTERS,
    **affinity.FILTERS,
    **aggregates.FILTERS,
    **counts.FILTERS,
    **json_query.FILTERS,
    **topology.FILTERS,
}
ENTRY_POINTS: Final = "kilonova.scheduler.filters"
"""A third party's filter is a HostFilter, a MaskFilter or a plain function of a host and a request."""


class UnknownFilterError(KilonovaError):
    """`enabled_filters` names one that nobody provides."""


def load_filters(names: tuple[str, ...]) -> dict[str, Filter]:
    """In this order. Raises UnknownFilterError."""
    missing = [n for n in names if n not in BUILT_IN]
    foreign = {e.name: e for e in entry_points(group=ENTRY_POINTS)} if missing else {}
    for name in missing:
        if name not in foreign:
            raise UnknownFilterError(
                f"no filter is called {name}: correct filter_scheduler.enabled_filters; known are "
                f"{', '.join([*BUILT_IN, *foreign])}"
            )
    return {n: BUILT_IN[n] if n in BUILT_IN else _shaped(foreign[n].load()) for n in names}


def _shaped(found: object) -> Filter:
    if isinstance(found, HostFilter | MaskFilter):
        return found
    if callable(found):
        return HostFilter(found)
    raise UnknownFilterError(f"{found!r} is no filter: it must be a HostFilter, a MaskFilter or a function")
