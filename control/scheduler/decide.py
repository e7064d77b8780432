"""The decision itself: from a model and a request to hosts with alternates, or to the reasons why there is none."""

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping
from random import Random
from typing import Final

import numpy as np
from attrs import field, frozen

from control.scheduler.columns import Column
from control.scheduler.filters.shapes import HostFilter
from control.scheduler.model import HostState, Model
from control.scheduler.pipeline import Pipeline
from control.scheduler.request import Request
from control.scheduler.request_filters import Impossible
from control.scheduler.screen import screen, times
from control.scheduler.weigh import weigh

CHUNK: Final = 64
"""rows that are put in order at once: mostly the first few pass"""


@frozen
class Choice:
    host: HostState
    alternates: tuple[str, ...] = ()


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


@frozen
class Taste:
    """How freely is chosen: one of the best `subset`, and with `shuffle` in a new order among equals, as `draw` says.
    Without `draw` the best is taken."""

    alternates: int = 0
    subset: int = 1
    shuffle: bool = False
    draw: Random | None = None


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
    screened = screen(model, request, filters)
    rows = np.flatnonzero(screened.left)
    weights = weigh(model, rows, request, pipeline.weighers)
    askers = [f for f in filters.values() if isinstance(f, HostFilter)]
    removed: Counter[str] = Counter()
    for one in screened.removed:
        removed[one.reason] += one.hosts

    def passing() -> Iterator[int]:
        """Places in `rows` of hosts that pass the filters which ask each one, best first."""
        for place in _in_order(model, rows, _with_preferred(model, rows, weights.total, request), taste):
            state = model.rows[rows[place]]
            reason = next((why for f in askers if (why := f.run(state, request)) is not None), None)
            if reason is None:
                yield place
            else:
                removed[reason] += 1

    room = times(model, rows, request)
    picks = _picks(model, rows, weights.total, weights.drop, room, passing(), taste, request)
    chosen: list[Decision] = list(_first(picks, count))
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


def _picks(
    model: Model,
    rows: Column,
    total: Column,
    drop: Column,
    room: Column,
    passing: Iterator[int],
    taste: Taste,
    request: Request,
) -> Iterator[Choice]:
    """One host after the other, each the best of those not begun (`passing`, in order) and those begun, which are
    worth `drop` less for every claim that they were given. Ends when all are full."""
    begun: list[tuple[float, float, int]] = []
    given: Counter[int] = Counter()
    ahead = _Ahead(passing)
    rank = model.numbers["rank"]
    while True:
        fresh = ahead.first()
        if begun and (fresh is None or -begun[0][0] > total[fresh]):
            place = heapq.heappop(begun)[2]
        elif fresh is not None:
            place = ahead.take(taste)
        else:
            return
        given[place] += 1
        state = model.rows[rows[place]]
        others = ahead.peek(taste.alternates + 1, state, model, rows, request)
        spare = [model.rows[rows[p]].host for _, _, p in begun[: taste.alternates]]
        names = [model.rows[rows[p]].host for p in others] + spare
        yield Choice(state, tuple(dict.fromkeys(names))[: taste.alternates])
        if given[place] < room[place]:
            worth = float(total[place] - given[place] * drop[place])
            heapq.heappush(begun, (-worth, float(rank[rows[place]]), place))


class _Ahead:
    """An iterator of which the next few can be seen."""

    def __init__(self, places: Iterator[int]) -> None:
        self._places = places
        self._seen: list[int] = []

    def first(self) -> int | None:
        self._fill(1)
        return self._seen[0] if self._seen else None

    def take(self, taste: Taste) -> int:
        """One of the best `subset`."""
        if taste.draw is None or taste.subset <= 1:
            return self._seen.pop(0)
        self._fill(taste.subset)
        return self._seen.pop(taste.draw.randrange(min(taste.subset, len(self._seen))))

    def peek(self, count: int, chosen: HostState, model: Model, rows: Column, request: Request) -> list[int]:
        """The next ones, as alternates of the chosen host."""
        count -= 1
        if not request.settings.scheduler.alternates_in_same_cell:
            self._fill(count)
            return self._seen[:count]
        self._fill(len(rows))
        return [p for p in self._seen if model.rows[rows[p]].cell == chosen.cell][:count]

    def _fill(self, count: int) -> None:
        while len(self._seen) < count:
            place = next(self._places, None)
            if place is None:
                return
            self._seen.append(place)


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


def _first(picks: Iterator[Choice], count: int) -> Iterator[Choice]:
    for _, pick in zip(range(count), picks, strict=False):
        yield pick
