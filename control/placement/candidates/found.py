"""What was found: allocation requests, and the providers that are to be told of."""

from collections.abc import Sequence
from random import Random
from typing import Literal

from attrs import field, frozen

from control.placement.resources import Amounts

Piece = tuple[int, str, int]
"""row of the provider, resource class, amount"""
Strategy = Literal["depth-first", "breadth-first"]


@frozen
class Request:
    """One allocation request: what to take where."""

    pieces: frozenset[Piece]
    """one for each provider and class"""
    mappings: tuple[tuple[str, frozenset[int]], ...]
    """each group's suffix and the rows of those that serve it, in the order of the query's groups"""


@frozen
class Alone:
    """Requests for the same of one provider each, by their rows."""

    suffix: str
    resources: Amounts
    rows: Sequence[int]

    def requests(self) -> list[Request]:
        amounts = self.resources.items()
        return [
            Request(frozenset((row, name, amount) for name, amount in amounts), ((self.suffix, frozenset({row})),))
            for row in self.rows
        ]


@frozen
class Candidates:
    """All that is answered: what providers serve alone, what had to be searched, and the rows of the providers to
    summarise."""

    alone: Alone
    searched: Sequence[Request]
    told: Sequence[int]

    @property
    def requests(self) -> list[Request]:
        return [*self.alone.requests(), *self.searched]


@frozen
class Generation:
    """Placement's options `max_allocation_candidates`, `allocation_candidates_generation_strategy` and
    `randomize_allocation_candidates`."""

    most: int = -1
    """-1: any number"""
    strategy: Strategy = "depth-first"
    """all of one tree before the next, or one of each tree in turn"""
    random: Random | None = field(default=None, eq=False)
    """None: in a fixed order"""
