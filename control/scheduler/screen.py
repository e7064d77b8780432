"""The vectorised part of a decision: which rows are left, and what removed the others and how many of them."""

from collections.abc import Iterator, Mapping

import numpy as np
from attrs import define, field, frozen

from control.scheduler.columns import Column
from control.scheduler.filters.shapes import Filter, MaskFilter
from control.scheduler.model import Model
from control.scheduler.request import Request

HOST: str = "host"
"""The stage of what a host is known for: complete, of a usable cell, asked for"""
TRAITS: str = "traits"
AGGREGATES: str = "aggregates"
CAPACITY: str = "capacity"


@frozen
class Removed:
    """A stage (one of the above or a filter's name), its reason, and how many hosts it removed."""

    stage: str
    reason: str
    hosts: int


@define(eq=False)
class Screen:
    """`left` is true for the rows that passed all."""

    left: Column
    removed: list[Removed] = field(factory=list)

    def remove(self, stage: str, reason: str, bad: Column) -> None:
        hit = self.left & bad
        count = int(np.count_nonzero(hit))
        if count:
            self.removed.append(Removed(stage, reason, count))
            self.left &= ~bad


def screen(model: Model, request: Request, filters: Mapping[str, Filter]) -> Screen:
    """Each host is removed by the first reason in this order."""
    found = Screen(np.ones(len(model.rows), np.bool_))
    for stage, reason, bad in verdicts(model, request, filters):
        found.remove(stage, reason, bad)
    return found


def verdicts(model: Model, request: Request, filters: Mapping[str, Filter]) -> Iterator[tuple[str, str, Column]]:
    """(stage, reason, rows that it rules out), whether or not something else rules them out already."""
    spec = request.spec
    yield HOST, "not fully reported yet", ~model.flags["complete"]
    yield HOST, "in a disabled or unreachable cell", ~model.cells.any_of(request.cells)
    if request.avoid:
        yield HOST, "failed before", model.only(request.avoid)
    if spec.forced_host:
        yield HOST, "not the forced host", ~model.only([spec.forced_host])
    if spec.requested_host:
        yield HOST, "not the requested host", ~model.only([spec.requested_host])
    for trait in sorted(request.required):
        yield TRAITS, f"miss trait {trait}", ~model.traits[trait]
    for trait in sorted(request.forbidden):
        if trait in model.traits:
            yield TRAITS, f"have trait {trait}", model.traits[trait]
    for membership in request.inside:
        yield AGGREGATES, membership.why, ~model.members.any_of(membership.aggregates)
    for membership in request.outside:
        yield AGGREGATES, membership.why, model.members.any_of(membership.aggregates)
    if request.demands.separate > 1:
        reason = f"have no {request.demands.separate} providers apart from each other"
        yield CAPACITY, reason, np.ones(len(model.rows), np.bool_)
    for name, amount in request.asked.items():
        yield CAPACITY, f"lack {amount} {name}", ~room(model, name, amount)
    for name, one in filters.items():
        if isinstance(one, MaskFilter):
            for reason, bad in one.run(model, request):
                yield name, reason, bad


def room(model: Model, name: str, amount: int) -> Column:
    """Rows that can give so much more of a class, units and steps included."""
    fits = model.used[name] + amount <= model.capacity[name]
    fits &= amount <= model.largest[name]
    fits &= amount >= model.smallest[name]
    steps = model.step[name]
    odd = steps > 1
    if odd.any():
        fits &= ~odd | (amount % np.maximum(steps, 1) == 0)
    found: Column = fits
    return found


def times(model: Model, rows: Column, request: Request) -> Column:
    """How many such requests the free amounts of these rows hold; for a request of nothing a large number."""
    count = np.full(len(rows), 2**31, dtype=np.int64)
    for name, amount in request.asked.items():
        free = (model.capacity[name] - model.used[name])[rows]
        count = np.minimum(count, np.maximum(free, 0) // amount)
    return count
