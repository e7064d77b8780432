"""THE table of weighers, and how those that are enabled are found."""

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Final

import numpy as np

from control.placement.groups import others_on
from control.scheduler.columns import Column
from control.scheduler.filters.compute import weighed_metrics, weight_setting
from control.scheduler.model import HostState, Model
from control.scheduler.request import Request
from control.scheduler.weighers.shape import Weigher
from schemas.errors import KilonovaError


def free(name: str) -> Callable[[Model, Column, Request], Column]:
    """More free is better; a negative multiplier stacks."""
    return lambda model, rows, _: model.free(name)[rows].astype(np.float64)


def number(name: str) -> Callable[[Model, Column, Request], Column]:
    return lambda model, rows, _: model.numbers[name][rows]


def members(model: Model, rows: Column, request: Request) -> Column:
    """Members of the request's group on each host."""
    weights = np.zeros(model.numbers.rows)
    group = request.group
    if group is not None:
        for host in {h for hosts in group.members.values() for h in hosts}:
            weights[model.rows_of([host])] = others_on(group, request.spec.uuid, host)
    return weights[rows]


MOST_DEVICES: Final = 99
"""Where there are more, devices are not scarce."""


def devices(model: Model, rows: Column, _: Request) -> Column:
    """Free PCI devices, for which hosts are kept from those who need none, and from being used in small pieces."""
    return np.minimum(model.numbers["pci_devices"][rows], MOST_DEVICES)


def same_cell(model: Model, rows: Column, request: Request) -> Column:
    """For moves: the server's present cell before others."""
    return model.cells[request.source_cell or ""][rows].astype(np.float64)


def image_properties(model: Model, rows: Column, request: Request) -> Column:
    """Hosts with servers whose images have the same properties."""
    setting = weight_setting(request.settings.filter_scheduler.image_props_weight_setting)
    wanted = {k: v for k, v in request.properties.items() if not setting or k in setting}
    return _each(model, rows, lambda s: sum(setting.get(k, 1.0) * s.images[k, v] for k, v in wanted.items()))


def metrics(model: Model, rows: Column, request: Request) -> Column:
    ratios = weighed_metrics(request)
    missing = request.settings.metrics.weight_of_unavailable

    def weight(state: HostState) -> float:
        reported: Mapping[str, float] = state.facts.metrics if state.facts else {}
        if any(name not in reported for name in ratios):
            return missing
        return sum(ratio * reported[name] for name, ratio in ratios.items())

    return _each(model, rows, weight)


def _each(model: Model, rows: Column, weight: Callable[[HostState], float]) -> Column:
    return np.array([weight(model.rows[row]) for row in rows], dtype=np.float64)


def _policy(policy: str) -> Callable[[Request], bool]:
    return lambda request: request.group is not None and request.group.policy == policy


BUILT_IN: Final[dict[str, Weigher]] = {
    "RAMWeigher": Weigher(free("MEMORY_MB"), "ram_weight_multiplier", consumes="MEMORY_MB"),
    "CPUWeigher": Weigher(free("VCPU"), "cpu_weight_multiplier", consumes="VCPU"),
    "DiskWeigher": Weigher(free("DISK_GB"), "disk_weight_multiplier", consumes="DISK_GB"),
    "IoOpsWeigher": Weigher(number("io_ops"), "io_ops_weight_multiplier"),
    "PCIWeigher": Weigher(devices, "pci_weight_multiplier", sign=-1.0),
    "ServerGroupSoftAffinityWeigher": Weigher(
        members, "soft_affinity_weight_multiplier", wanted=_policy("soft-affinity")
    ),
    "ServerGroupSoftAntiAffinityWeigher": Weigher(
        members, "soft_anti_affinity_weight_multiplier", sign=-1.0, wanted=_policy("soft-anti-affinity")
    ),
    "BuildFailureWeigher": Weigher(number("failed_builds"), "build_failure_weight_multiplier", sign=-1.0),
    "CrossCellWeigher": Weigher(
        same_cell, "cross_cell_move_weight_multiplier", wanted=lambda r: r.source_cell is not None
    ),
    "NumInstancesWeigher": Weigher(number("instances"), "num_instances_weight_multiplier"),
    "HypervisorVersionWeigher": Weigher(number("hypervisor_version"), "hypervisor_version_weight_multiplier"),
    "ImagePropertiesWeigher": Weigher(
        image_properties, "image_props_weight_multiplier", wanted=lambda r: bool(r.properties)
    ),
    "MetricsWeigher": Weigher(metrics, "metrics_weight_multiplier", wanted=lambda r: bool(weighed_metrics(r))),
}
ENTRY_POINTS: Final = "kilonova.scheduler.weighers"


class UnknownWeigherError(KilonovaError):
    """`enabled_weighers` names one that nobody provides."""


def load_weighers(names: tuple[str, ...]) -> dict[str, Weigher]:
    """These, or all there are. Raises UnknownWeigherError."""
    known: dict[str, Weigher] = {**BUILT_IN, **{e.name: e.load() for e in entry_points(group=ENTRY_POINTS)}}
    for name in names:
        if name not in known:
            raise UnknownWeigherError(
                f"no weigher is called {name}: correct filter_scheduler.enabled_weighers; known are {', '.join(known)}"
            )
    return {name: known[name] for name in names or known}
