"""The vectorised part of a decision: which rows are left, and what removed the others and how many of them."""

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from attrs import define, field, frozen

from control.placement.bits import union
from control.scheduler.columns import Column
from control.scheduler.filters.shapes import Filter, MaskFilter
from control.scheduler.model import Model
from control.scheduler.request import Membership, Request
from control.scheduler.trees import Trees

HOST: str = "host"
"""The stage of what a host is known for: complete, of a usable cell, asked for"""
NOT_REPORTED: Final = "not fully reported yet"
NO_CELL: Final = "in a disabled or unreachable cell"
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


def screen(model: Model, request: Request, filters: Mapping[str, Filter], trees: Trees) -> Screen:
    """Each host is removed by the first reason in this order."""
    found = Screen(np.ones(len(model.rows), np.bool_))
    for stage, reason, bad in verdicts(model, request, filters, trees):
        found.remove(stage, reason, bad)
    return found


def verdicts(
    model: Model, request: Request, filters: Mapping[str, Filter], trees: Trees
) -> Iterator[tuple[str, str, Column]]:
    """(stage, reason, rows that it rules out), whether or not something else rules them out already. A host of `trees`
    may be left and still have no way to serve all of the request together."""
    spec, forest = request.spec, model.forest
    yield HOST, NOT_REPORTED, ~model.flags["complete"]
    yield HOST, NO_CELL, ~model.cells.any_of(request.cells)
    if request.avoid:
        yield HOST, "failed before", model.only(request.avoid)
    if spec.forced_host:
        yield HOST, "not the forced host", ~model.only([spec.forced_host])
    if spec.requested_host:
        yield HOST, "not the requested host", ~model.only([spec.requested_host])
    for trait in sorted(request.all_required):
        has = model.bearing(forest.with_trait[trait])
        if trees.hosts is not None and trait not in trees.of_host:
            has |= trees.hosts & trees.bearing(forest.with_trait[trait])
        yield TRAITS, f"miss trait {trait}", ~has
    for trait in sorted(request.forbidden | request.demands.forbidden):
        has = model.bearing(forest.with_trait[trait])
        if trees.hosts is not None and trait not in trees.of_host:
            has &= ~trees.hosts
        if has.any():
            yield TRAITS, f"have trait {trait}", has
    for membership in request.inside:
        yield AGGREGATES, membership.why, ~_members(model, membership)
    for membership in request.outside:
        yield AGGREGATES, membership.why, _members(model, membership)
    if request.demands.separate > 1:
        reason = f"have no {request.demands.separate} providers apart from each other"
        alone = np.ones(len(model.rows), np.bool_) if trees.hosts is None else ~trees.hosts
        yield CAPACITY, reason, alone
    for name, amount in request.asked.items():
        yield CAPACITY, f"lack {amount} {name}", ~_has_room(model, trees, name, amount)
    for name, one in filters.items():
        if isinstance(one, MaskFilter):
            for reason, bad in one.run(model, request):
                yield name, reason, bad


def _members(model: Model, membership: Membership) -> Column:
    return model.bearing(union(model.forest.in_aggregate[uuid] for uuid in membership.aggregates))


def _has_room(model: Model, trees: Trees, name: str, amount: int) -> Column:
    """Hosts that can give so much more of a class, units and steps included: by themselves each group's share and all
    of it together, or each share from some provider."""
    column = model.forest.columns.get(name)
    if column is None:
        return np.zeros(len(model.rows), np.bool_)
    shares = [column.fits(group.resources[name]) for group in trees.query.groups if name in group.resources]
    alone = column.fits(amount)
    for share in shares if len(shares) > 1 else ():
        alone &= share
    found = model.of_hosts(alone)
    if trees.hosts is not None:
        found |= trees.hosts & np.logical_and.reduce([trees.reached(share) for share in shares])
    return found


def times(model: Model, rows: Column, request: Request) -> Column:
    """How many such requests the free amounts of these rows' own providers hold; for a request of nothing a large
    number."""
    count = np.full(len(rows), 2**31, dtype=np.int64)
    for name, amount in request.asked.items():
        column = model.forest.columns.get(name)
        free = model.of_hosts(column.capacity - column.used)[rows] if column else np.zeros(len(rows), np.int64)
        count = np.minimum(count, np.maximum(free, 0) // amount)
    return count
