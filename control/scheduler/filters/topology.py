"""Where on a host a guest's processors, memory and devices would lie. That they can lie there is part of every decision
and of the claim (`control.placement.topology`); these are Nova's names for it, and the first is stricter."""

from typing import Final

from control.placement.topology import fitted
from control.scheduler.filters.shapes import HostFilter, MaskFilter
from control.scheduler.model import HostState
from control.scheduler.request import Request


def numa(state: HostState, request: Request) -> str | None:
    if state.facts is not None and not state.facts.topology:
        return "reports no NUMA topology"
    return topology(state, request)


def topology(state: HostState, request: Request) -> str | None:
    """Why the guest's cells and devices do not lie on the host, beside those of all others."""
    wishes = request.topology
    if wishes.wrong or not wishes or state.facts is None or state.provider is None or state.usages is None:
        return wishes.wrong
    if fitted(wishes, state.facts, state.provider.value, state.usages.value) is not None:
        return None
    return "has no NUMA cells that hold it" if wishes.cells else "lacks PCI devices"


ALWAYS: Final[dict[str, HostFilter | MaskFilter]] = {
    "topology": HostFilter(topology, wanted=lambda r: bool(r.topology), counts=True),
}
"""Part of every decision, as capacity is: what a claim refuses is not chosen."""
FILTERS: Final[dict[str, HostFilter | MaskFilter]] = {
    "NUMATopologyFilter": HostFilter(numa, wanted=lambda r: bool(r.topology.cells or r.topology.wrong)),
    "PciPassthroughFilter": HostFilter(topology, wanted=lambda r: bool(r.topology.devices or r.topology.wrong)),
}
