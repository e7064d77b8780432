"""What a site has enabled: request filters, filters and weighers."""

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Final

from attrs import frozen

from control.scheduler.filters.shapes import Filter
from control.scheduler.filters.table import load_filters
from control.scheduler.filters.topology import ALWAYS
from control.scheduler.model import Model
from control.scheduler.request import Request
from control.scheduler.request_filters import REQUEST_FILTERS, RequestFilter
from control.scheduler.weighers.shape import Weigher
from control.scheduler.weighers.table import load_weighers
from schemas.settings import Settings

ENTRY_POINTS: Final = "kilonova.scheduler.request_filters"

FOLLOWING_SERVERS: Final = ("NumInstancesFilter", "AggregateNumInstancesFilter", "JsonFilter")
"""Filters that ask which servers are on a host"""


@frozen
class Pipeline:
    request_filters: Mapping[str, RequestFilter]
    filters: Mapping[str, Filter]
    weighers: Mapping[str, Weigher]

    def prepared(self, request: Request, model: Model) -> Request:
        """Through all request filters. Raises Impossible."""
        for run in self.request_filters.values():
            request = run(request, model)
        return request

    def filters_for(self, request: Request) -> dict[str, Filter]:
        """Those that have something to say. A forced host skips all that are enabled, a rebuild most, as in Nova."""
        enabled = {} if request.spec.forced_host else self.filters
        return {
            name: f
            for name, f in {**enabled, **ALWAYS}.items()
            if f.wanted(request) and (f.on_rebuild or not request.rebuild)
        }

    def each_alone(self, request: Request) -> bool:
        """Whether every claim changes what is decided next by more than the room that it takes."""
        return request.group is not None or any(f.counts for f in self.filters_for(request).values())


def load_pipeline(settings: Settings) -> Pipeline:
    """Raises UnknownFilterError, UnknownWeigherError."""
    options = settings.filter_scheduler
    foreign = {e.name: e.load() for e in entry_points(group=ENTRY_POINTS)}
    return Pipeline(
        {**REQUEST_FILTERS, **foreign},
        load_filters(options.enabled_filters),
        load_weighers(options.enabled_weighers),
    )


def follows_servers(pipeline: Pipeline, settings: Settings) -> bool:
    """Whether the model has to know which servers are on each host; that costs memory and a watch."""
    options = settings.filter_scheduler
    weighed = "NumInstancesWeigher" in pipeline.weighers and options.num_instances_weight_multiplier
    images = "ImagePropertiesWeigher" in pipeline.weighers and options.image_props_weight_multiplier
    return bool(weighed or images) or any(name in pipeline.filters for name in FOLLOWING_SERVERS)
