"""The decision itself: from a model and a request to hosts with alternates, or to the reasons why there is none."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

import numpy as np
from attrs import field, frozen

from control.scheduler.columns import Column
from control.scheduler.filters.shapes import HostFilter
from control.scheduler.model import HostState, Model
from control.scheduler.pick import Choice, Picking, Taste
from control.scheduler.pipeline import Pipeline
from control.scheduler.request import Request
from control.scheduler.request_filters import Impossible
from control.scheduler.screen import screen, times
from control.scheduler.trees import TOGETHER, Resources, Trees
from control.scheduler.weigh import weigh

CHUNK: Final = 64
"""rows that are put in order at once: mostly the first few pass"""


@frozen
class Refusal:
    """How many hosts each reason removed, of how many."""

    hosts: int
    reasons: dict[str, int] = field(factory=dict)

    def text(self) -> str:
        """For operators; tenants see Nova's own sentence."""
        why = ", ".join(f"{count} {reason}" for reason, count in sorted(self.reasons.items(), key=lambda r: -r[1]))
        return f"0 of {self.hosts} hosts: {why}" if why else f"0 of {self.hosts} hosts"


Decision = Choice | Refusal

__all__ = ["Choice", "Decision", "Refusal", "Taste", "choose", "choose_many", "order_of"]


def choose(model: Model, request: Request, pipeline: Pipeline, taste: Taste) -> Decision:
    return choose_many(model, request, pipeline, taste, 1)[0]


def choose_many(model: Model, request: Request, pipeline: Pipeline, taste: Taste, count: int) -> list[Decision]:
    """For `count` equal requests, weighed once: each takes the host that is best after those before it. A pipeline
    that must see each claim (`each_alone`) is asked for one at a time."""
    total = len(model.rows)
    try:
        request = pipeline.prepared(request, model)
    except Impossible as impossible:
        return [Refusal(total, {str(impossible): total}) for _ in range(count)]
    filters = pipeline.filters_for(request)
    trees = Trees(model, request)
    screened = screen(model, request, filters, trees)
    rows = np.flatnonzero(screened.left)
    weights = weigh(model, rows, request, pipeline.weighers)
    askers = [f.run for f in filters.values() if isinstance(f, HostFilter)]
    removed: Counter[str] = Counter()
    for part in screened.removed:
        removed[part.reason] += part.hosts

    def obstacle(state: HostState) -> str | None:
        for ask in askers:
            reason = ask(state, request)
            if reason is not None:
                return reason
        return TOGETHER if state in trees and trees.resources(state) is None else None

    def passing() -> Iterator[int]:
        """Places in `rows` of hosts that pass the filters which ask each one, best first."""
        for place in _in_order(model, rows, _with_preferred(model, rows, weights.total, request), taste):
            reason = obstacle(model.rows[rows[place]])
            if reason is None:
                yield place
            else:
                removed[reason] += 1

    taken: list[Resources] = []

    def resources(state: HostState) -> Resources | None:
        """What hosts share is counted as used from one to the next."""
        if state not in trees:
            assert state.node is not None
            return {state.node.uuid: request.asked}
        found = trees.resources(state)
        if found is not None:
            model.reserve(found)
            taken.append(found)
        return found

    room = times(model, rows, request)
    if trees.hosts is not None:
        room[trees.hosts[rows]] = count
    picking = Picking(model, rows, weights, room, resources, passing(), taste)
    try:
        chosen: list[Decision] = list(islice(picking.choices(), count))
    finally:
        for one in taken:
            model.reserve(one, -1)
    while len(chosen) < count:  # all hosts were looked at by now
        chosen.append(Refusal(total, _reasons(removed, request, chosen)))
    return chosen


def _reasons(removed: Mapping[str, int], request: Request, chosen: list[Decision]) -> dict[str, int]:
    """Hosts that earlier ones of the same batch have filled lack room for the others."""
    taken = {c.host.host for c in chosen if isinstance(c, Choice)}
    if not taken:
        return dict(removed)
    name, amount = next(iter(request.asked.items()), ("room", 0))
    filled = f"lack {amount} {name}"
    return {**removed, filled: removed.get(filled, 0) + len(taken)}


def _with_preferred(model: Model, rows: Column, total: Column, request: Request) -> Column:
    """Alternates chosen before come before all others."""
    if not request.prefer or not len(rows):
        return total
    bonus = float(total.max() - total.min()) + 1.0
    worth: Column = total + bonus * model.only(request.prefer)[rows]
    return worth


def order_of(model: Model, rows: Column, worth: Column) -> Column:
    """The places of all rows by worth, equals by rank."""
    return _best(worth, model.numbers["rank"][rows], len(rows))


def _in_order(model: Model, rows: Column, worth: Column, taste: Taste) -> Iterator[int]:
    """Places by worth; equals by rank, or shuffled."""
    rank = model.numbers["rank"][rows]
    if taste.draw is not None and taste.shuffle:
        rank = np.array([taste.draw.random() for _ in rows])
    done = 0
    while done < len(rows):
        size = CHUNK if not done else len(rows)
        best = _best(worth, rank, min(size, len(rows)))
        yield from best[done:].tolist()
        done = len(best)


def _best(worth: Column, rank: Column, count: int) -> Column:
    """The places of the `count` best, in order: by worth, then by the lower rank."""
    places = np.arange(len(worth))
    if count < len(worth):
        limit = np.partition(worth, len(worth) - count)[len(worth) - count]
        above, equal = np.flatnonzero(worth > limit), np.flatnonzero(worth == limit)
        wanted = count - len(above)
        if wanted < len(equal):
            equal = equal[np.argpartition(rank[equal], wanted - 1)[:wanted]]
        places = np.concatenate([above, equal])
    order: Column = places[np.lexsort((rank[places], -worth[places]))]
    return order
