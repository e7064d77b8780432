"""The order of hosts: weighers' numbers normalised to 0..1 over the hosts that are left, multiplied and summed."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from attrs import frozen

from control.scheduler.columns import Column
from control.scheduler.model import Model
from control.scheduler.request import Request
from control.scheduler.weighers.shape import Weigher

METRICS: Final = "metrics_weight_multiplier"
"""How aggregates call the option `weight_multiplier` of `[metrics]`"""


@frozen(eq=False)
class Weights:
    """Per row that was weighed: the sum, the parts by weigher, and by how much one more claim lowers the sum."""

    total: Column
    parts: dict[str, Column]
    drop: Column


def weigh(model: Model, rows: Column, request: Request, weighers: Mapping[str, Weigher]) -> Weights:
    """`rows` are indices; the results are as long."""
    total, drop = np.zeros(len(rows)), np.zeros(len(rows))
    parts: dict[str, Column] = {}
    for name, weigher in weighers.items():
        if not len(rows) or not weigher.wanted(request):
            continue
        multiplier = _multiplier(model, rows, request, weigher)
        if not np.any(multiplier):
            continue
        raw = weigher.run(model, rows, request)
        low = raw.min()
        span = raw.max() - low
        if weigher.consumes is not None and request.asked.get(weigher.consumes):
            asked = request.asked[weigher.consumes]
            # While all hosts are alike, a claim is the only difference between them.
            drop += multiplier * (asked / (span or asked))
        if span:
            parts[name] = multiplier * ((raw - low) / span)
            total += parts[name]
    return Weights(total, parts, drop)


def _multiplier(model: Model, rows: Column, request: Request, weigher: Weigher) -> Column | float:
    """The option's value; where aggregates give another, the least of those."""
    name = weigher.multiplier
    settings = request.settings
    default = settings.metrics.weight_multiplier if name == METRICS else weigher.default
    value = float(getattr(settings.filter_scheduler, name, default)) * weigher.sign
    overriding = [a for a in model.aggregates.values() if name in a.metadata] if name else []
    if not overriding:
        return value
    column = np.full(model.numbers.rows, np.inf)
    for aggregate in overriding:
        try:
            other = float(aggregate.metadata[name])
        except ValueError:
            continue
        hosts = model.rows_of(aggregate.hosts)
        column[hosts] = np.minimum(column[hosts], other)
    column = np.where(np.isinf(column), value, column * weigher.sign)
    chosen: Column = column[rows]
    return chosen
