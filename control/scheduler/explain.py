"""Why a request finds the hosts that it finds, or none: the tables of a decision, but nothing is cut short. Pure."""

from collections.abc import Iterator, Mapping

import numpy as np

from control.placement.columns import NOT_OFFERED
from control.scheduler.columns import Column
from control.scheduler.decide import order_of
from control.scheduler.filters.shapes import Filter, HostFilter
from control.scheduler.model import Model
from control.scheduler.pipeline import Pipeline
from control.scheduler.request import Request
from control.scheduler.request_filters import Impossible
from control.scheduler.screen import CAPACITY, times, verdicts
from control.scheduler.trees import TOGETHER, Resources, Trees
from control.scheduler.weigh import weigh
from schemas.messages import Explained, Obstacle, Weighed


def explain(model: Model, request: Request, pipeline: Pipeline, best: int = 10) -> Explained:
    total = len(model.rows)
    try:
        request = pipeline.prepared(request, model)
    except Impossible as impossible:
        return Explained(total, 0, 0, request.asked, (Obstacle("request", str(impossible), total, total),))
    filters = pipeline.filters_for(request)
    trees = Trees(model, request)
    found = [(stage, reason, bad) for stage, reason, bad in verdicts(model, request, filters, trees) if bad.any()]
    found += _one_by_one(model, request, filters)
    against = np.zeros(total, dtype=np.int64)
    for _, _, bad in found:
        against += bad
    apart = np.zeros(total, np.bool_)
    for state in model.rows if trees.hosts is not None else ():
        apart[state.row] = not against[state.row] and state in trees and trees.resources(state) is None
    if apart.any():
        found.append((CAPACITY, TOGETHER, apart))
    obstacles, left = [], np.ones(total, np.bool_)
    for stage, reason, bad in found:
        removed, alone = int((left & bad).sum()), int((bad & (against <= 1)).sum())
        obstacles.append(Obstacle(stage, reason, removed, alone, _note(model, stage, reason)))
        left &= ~bad
    rows = np.flatnonzero(left)
    room = _room(model, request, trees, rows)
    return Explained(
        total,
        len(rows),
        int(room.sum()),
        request.asked,
        tuple(sorted(obstacles, key=lambda o: (-o.removed, -o.alone))),
        tuple(_weighed(model, request, pipeline, rows, room, best)),
    )


def _room(model: Model, request: Request, trees: Trees, rows: Column) -> Column:
    """How many such requests each of the rows takes, beside all others: what hosts share is given to the first."""
    found = times(model, rows, request)
    if trees.hosts is None:
        return found
    reserved: list[Resources] = []
    try:
        for place in np.flatnonzero(trees.hosts[rows]).tolist():
            found[place] = 0
            while taken := trees.resources(model.rows[rows[place]]):
                count = trees.times(taken)
                found[place] += count
                reserved.append({p: {name: n * count for name, n in a.items()} for p, a in taken.items()})
                model.reserve(reserved[-1])
    finally:
        for one in reserved:
            model.reserve(one, -1)
    return found


def _one_by_one(model: Model, request: Request, filters: Mapping[str, Filter]) -> list[tuple[str, str, Column]]:
    """What the filters say that ask each host, as columns by reason."""
    found: dict[tuple[str, str], Column] = {}
    for name, one in filters.items():
        if not isinstance(one, HostFilter):
            continue
        for state in model.rows:
            reason = one.run(state, request) if state.complete else None
            if reason is not None:
                column = found.setdefault((name, reason), np.zeros(len(model.rows), np.bool_))
                column[state.row] = True
    return [(name, reason, column) for (name, reason), column in found.items()]


def _weighed(
    model: Model, request: Request, pipeline: Pipeline, rows: Column, room: Column, best: int
) -> Iterator[Weighed]:
    weights = weigh(model, rows, request, pipeline.weighers)
    for place in order_of(model, rows, weights.total)[:best]:
        state = model.rows[rows[place]]
        parts = {name: round(float(part[place]), 3) for name, part in weights.parts.items()}
        yield Weighed(state.host, state.cell, round(float(weights.total[place]), 3), parts, int(room[place]))


def _note(model: Model, stage: str, reason: str) -> str:
    """What would have to change: how far the roomiest host is from it."""
    if stage != CAPACITY:
        return ""
    name = reason.rsplit(" ", 1)[1]
    column = model.forest.columns.get(name)
    if column is None:
        return ""
    offering = model.of_hosts(column.room != NOT_OFFERED)
    free = model.of_hosts(column.capacity - column.used)[offering].max(initial=0)
    most = max((s.node.inventories[name].max_unit for s in model.rows if offering[s.row] and s.node), default=0)
    return f"the most that a host has free is {free}, the most that one gives to a server is {most}"
