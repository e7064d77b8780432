"""What was found: allocation requests, and the providers that are to be told of."""

from collections.abc import Iterable, Sequence
from random import Random
from typing import Literal

from attrs import field, frozen

from control.placement.forest import Forest
from control.placement.resources import Amounts

Piece = tuple[int, str, int]
"""row of the provider, resource class, amount"""


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
    rows: list[int]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def requests(self) -> Sequence[Request]:
        amounts = self.resources.items()
        return [
            Request(frozenset((row, name, amount) for name, amount in amounts), ((self.suffix, frozenset({row})),))
            for row in self.rows
        ]


@frozen
class Found:
    """What only a search finds."""

    requests: Sequence[Request]

    def __len__(self) -> int:
        return len(self.requests)


@frozen
class Candidates:
    """All that is answered."""

    found: Alone | Found
    told: Sequence[int]
    """rows of the providers to summarise"""

    @property
    def requests(self) -> Sequence[Request]:
        return self.found.requests


def told_of(forest: Forest, used: Iterable[int], nested: bool) -> list[int]:
    """The rows to summarise when these are used: `nested`, those of the whole trees."""
    if not (nested and forest.children):
        return list(used)
    roots = dict.fromkeys(int(forest.root[row]) for row in used)
    return [node.row for root in roots for node in forest.at(root).tree() if node.stored]


NOTHING = Candidates(Found(()), ())


@frozen
class Generation:
    """Placement's options `max_allocation_candidates`, `allocation_candidates_generation_strategy` and
    `randomize_allocation_candidates`."""

    most: int = -1
    """-1: any number"""
    strategy: Literal["depth-first", "breadth-first"] = "depth-first"
    """all of one tree before the next, or one of each tree in turn"""
    random: Random | None = field(default=None, eq=False)
    """None: in a fixed order"""
