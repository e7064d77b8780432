"""Which hosts a batch of equal requests takes, one after the other, from one weighing."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random

from attrs import field, frozen

from control.scheduler.columns import Column
from control.scheduler.model import HostState, Model
from control.scheduler.trees import Resources
from control.scheduler.weigh import Weights


@frozen
class Choice:
    host: HostState
    resources: Resources
    """what is taken of which provider"""
    alternates: tuple[str, ...] = ()


@frozen
class Taste:
    """How freely is chosen: one of the best `subset`, and with `shuffle` in a new order among equals, as `draw` says.
    Without `draw` the best is taken."""

    alternates: int = 0
    subset: int = 1
    shuffle: bool = False
    draw: Random | None = None
    same_cell: bool = False
    """alternates are hosts of the chosen host's cell"""


@frozen(eq=False)
class Picking:
    """`passing` gives places in `rows`, best first, of hosts that pass every filter; `room` says how many requests each
    of the rows holds, and `resources` what one takes there, or None when it is full after all. Whoever was given some
    is worth `weights.drop` less for each."""

    model: Model
    rows: Column
    weights: Weights
    room: Column
    resources: Callable[[HostState], Resources | None]
    passing: Iterator[int]
    taste: Taste
    _ahead: list[int] = field(factory=list, init=False)
    """places that have passed and were not given anything yet"""
    _begun: list[tuple[float, float, int]] = field(factory=list, init=False)
    """a heap of places that can be given more: what they are worth now, negative, and their rank"""

    def choices(self) -> Iterator[Choice]:
        """Ends when all are full."""
        given: Counter[int] = Counter()
        rank, total, drop = self.model.numbers["rank"], self.weights.total, self.weights.drop
        while True:
            self._look_ahead(1)
            if self._begun and (not self._ahead or -self._begun[0][0] > total[self._ahead[0]]):
                place = heapq.heappop(self._begun)[2]
            elif self._ahead:
                place = self._one_of_the_best()
            else:
                return
            state = self._state(place)
            alternates = self._alternates(state)  # before anything is taken: they are for when it was given back
            resources = self.resources(state)
            if resources is None:
                continue
            given[place] += 1
            yield Choice(state, resources, alternates)
            if given[place] < self.room[place]:
                worth = float(total[place] - given[place] * drop[place])
                heapq.heappush(self._begun, (-worth, float(rank[self.rows[place]]), place))

    def _one_of_the_best(self) -> int:
        taste = self.taste
        if taste.draw is None or taste.subset <= 1:
            return self._ahead.pop(0)
        self._look_ahead(taste.subset)
        return self._ahead.pop(taste.draw.randrange(min(taste.subset, len(self._ahead))))

    def _alternates(self, chosen: HostState) -> tuple[str, ...]:
        """The next best, then those that others of the batch were given."""
        taste = self.taste
        self._look_ahead(len(self.rows) if taste.same_cell and taste.alternates else taste.alternates)
        states = (self._state(p) for p in (*self._ahead, *(place for _, _, place in self._begun)))
        names = [s.host for s in states if not taste.same_cell or s.cell == chosen.cell]
        return tuple(names[: taste.alternates])

    def _look_ahead(self, count: int) -> None:
        while len(self._ahead) < count:
            place = next(self.passing, None)
            if place is None:
                return
            self._ahead.append(place)

    def _state(self, place: int) -> HostState:
        return self.model.rows[int(self.rows[place])]
