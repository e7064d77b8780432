"""How much a host has to do already."""

from collections.abc import Iterable
from typing import Final

from control.scheduler.columns import Column
from control.scheduler.filters.shapes import HostFilter, MaskFilter
from control.scheduler.model import Model
from control.scheduler.request import Request


def instances(model: Model, request: Request) -> Iterable[tuple[str, Column]]:
    limit = request.settings.filter_scheduler.max_instances_per_host
    yield f"has {limit} instances already", model.numbers["instances"] >= limit


def io_ops(model: Model, request: Request) -> Iterable[tuple[str, Column]]:
    limit = request.settings.filter_scheduler.max_io_ops_per_host
    yield f"has {limit} I/O operations already", model.numbers["io_ops"] >= limit


FILTERS: Final[dict[str, HostFilter | MaskFilter]] = {
    "NumInstancesFilter": MaskFilter(instances, counts=True),
    "IoOpsFilter": MaskFilter(io_ops),
}
