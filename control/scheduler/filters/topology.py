"""Where on a host a guest's processors, memory and devices would lie, by what the host reports as free."""

from typing import Final

from control.placement.numa import GuestCell, Ratios, guest_cells, placements
from control.placement.pci import SPEC, PciRequest, pci_requests, without_devices
from control.scheduler.filters.shapes import HostFilter, MaskFilter
from control.scheduler.model import HostState
from control.scheduler.request import Request
from schemas.errors import BadRequest


def numa(state: HostState, request: Request) -> str | None:
    """Its devices are chosen together with its cells, since they may have to be near."""
    try:
        cells, devices = _cells(request), _devices(request)
    except BadRequest as error:
        return error.message
    facts = state.facts
    if not cells or facts is None:
        return None
    if not facts.topology:
        return "reports no NUMA topology"
    for placed in placements(cells, facts.topology, _ratios(state)):
        if without_devices(facts.pci, devices, [p.host_cell for p in placed]) is not None:
            return None
    return "has no NUMA cells that hold it"


def passthrough(state: HostState, request: Request) -> str | None:
    try:
        devices = _devices(request)
    except BadRequest as error:
        return error.message
    if state.facts is None or without_devices(state.facts.pci, devices, None) is not None:
        return None
    return "lacks PCI devices"


def _cells(request: Request) -> tuple[GuestCell, ...]:
    flavor = request.spec.flavor
    return guest_cells(flavor.vcpus, flavor.memory_mb, flavor.extra_specs, request.properties)


def _devices(request: Request) -> tuple[PciRequest, ...]:
    return pci_requests(request.extra_specs, request.settings.pci.alias)


def _ratios(state: HostState) -> Ratios:
    offered = state.provider.value.inventories if state.provider else {}
    cpu, memory = offered.get("VCPU"), offered.get("MEMORY_MB")
    return Ratios(cpu.allocation_ratio if cpu else 1.0, memory.allocation_ratio if memory else 1.0)


def _wants_cells(request: Request) -> bool:
    try:
        return bool(_cells(request))
    except BadRequest:
        return True


FILTERS: Final[dict[str, HostFilter | MaskFilter]] = {
    "NUMATopologyFilter": HostFilter(numa, wanted=_wants_cells),
    "PciPassthroughFilter": HostFilter(passthrough, wanted=lambda r: bool(r.extra_specs.get(SPEC))),
}
