"""The ways in which one group of a request can be served, tree by tree. Pure."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from attrs import frozen

from control.placement.bits import Mask, members_of
from control.placement.candidates.found import Piece
from control.placement.fitting import matching, rows_with
from control.placement.forest import SHARING, Forest, Node
from control.placement.query import Group, Wanted


@frozen
class Option:
    """One way to serve one group."""

    rows: frozenset[int]
    """of the providers that serve it"""
    pieces: tuple[Piece, ...]
    """empty for a group without resources"""


class Shares:
    """Which providers share, and with which trees: with those that have a provider in an aggregate of theirs."""

    def __init__(self, forest: Forest) -> None:
        self._forest = forest
        self.rows = list(members_of(forest.with_trait[SHARING] & forest.existing))
        self._anchors: dict[int, Mask] = {}

    def anchors(self, row: int) -> Mask:
        """The rows of the roots of those trees, its own among them; none for one that is in no aggregate."""
        found = self._anchors.get(row)
        if found is None:
            forest = self._forest
            found = self._anchors[row] = np.zeros(forest.columns.size, dtype=np.bool_)
            for aggregate in forest.at(row).aggregates:
                found[forest.root[forest.mask(forest.in_aggregate[aggregate])]] = True
        return found


class Options(ABC):
    """Of one group."""

    anchors: Mask
    """rows of the roots of trees that may serve it; elsewhere there is no option"""

    @abstractmethod
    def at(self, root: Node, tree: Sequence[Node]) -> Iterator[Option]:
        """Those of one tree, of which these are the providers that count, and of what is shared with it."""


def options_of(forest: Forest, group: Group, shares: Shares) -> Options | None:
    """None: nothing can serve it."""
    inside = np.ones(forest.columns.size, dtype=np.bool_)
    if group.in_tree is not None:
        member = forest.get(group.in_tree)
        if member is None:
            return None
        inside = forest.root == member.root.row
    if group.suffix or not (shares.rows or forest.children):
        return Sole(forest, group, shares, inside)
    return Spread(forest, group, shares, inside)


class Sole(Options):
    """The group is served by one provider alone."""

    def __init__(self, forest: Forest, group: Group, shares: Shares, inside: Mask) -> None:
        self._group = group
        self._forest = forest
        if group.resources or group.traits.any_of or group.aggregates.any_of:
            self._fits = matching(forest, group.resources, group.traits, group.aggregates) & inside
        else:
            self._fits = np.zeros_like(inside)  # as in Placement, what is only forbidden finds nobody
        self._shared = [(row, shares.anchors(row)) for row in shares.rows if self._fits[row]]
        self.anchors = np.zeros_like(inside)
        self.anchors[forest.root[self._fits]] = True
        for _, anchors in self._shared:
            self.anchors |= anchors

    def at(self, root: Node, tree: Sequence[Node]) -> Iterator[Option]:
        rows = [node.row for node in tree if self._fits[node.row]]
        rows += [row for row, anchors in self._shared if anchors[root.row] and self._forest.root[row] != root.row]
        for row in rows:
            yield Option(frozenset({row}), tuple((row, name, n) for name, n in self._group.resources.items()))


class Spread(Options):
    """The group is served by any providers of a tree and those that share with it: each class by one of them, each
    required trait on one of those used, forbidden ones on none. An aggregate of a root spans its tree."""

    def __init__(self, forest: Forest, group: Group, shares: Shares, inside: Mask) -> None:
        self._forest = forest
        self._resources = list(group.resources.items())
        self._required = [forest.traits.known(names) for names in group.traits.any_of]
        allowed = rows_with(forest.with_trait, Wanted(forbidden=group.traits.forbidden), forest.existing)
        members = forest.mask(rows_with(forest.in_aggregate, Wanted(any_of=group.aggregates.any_of), forest.existing))
        banned = ~forest.mask(
            rows_with(forest.in_aggregate, Wanted(forbidden=group.aggregates.forbidden), forest.existing)
        )
        usable = forest.mask(allowed) & inside
        own = usable & (members | members[forest.root]) & ~(banned | banned[forest.root])
        self._own: list[Mask] = []
        self._shared: list[list[tuple[int, Mask]]] = []
        self.anchors = np.ones_like(inside)
        for name, amount in self._resources:
            fits = forest.columns.fits({name: amount})
            sharing = [] if group.in_tree is not None else shares.rows
            lent = [
                (row, shares.anchors(row) & ~banned)
                for row in sharing
                if fits[row] and usable[row] and members[row] and not banned[row]
            ]
            anchors = np.zeros_like(inside)
            anchors[forest.root[fits & own]] = True
            for _, lent_to in lent:
                anchors |= lent_to
            self._own.append(fits & own)
            self._shared.append(lent)
            self.anchors &= anchors

    def at(self, root: Node, tree: Sequence[Node]) -> Iterator[Option]:
        choices = []
        for own, lent in zip(self._own, self._shared, strict=True):
            rows = [node.row for node in tree if own[node.row]]
            choices.append(rows + [row for row, to in lent if to[root.row] and row not in rows])
        for served in product(*choices):
            if self._bears(served):
                pieces = tuple((row, *resource) for row, resource in zip(served, self._resources, strict=True))
                yield Option(frozenset(served), pieces)

    def _bears(self, rows: tuple[int, ...]) -> bool:
        """Together they bear the required traits."""
        if not self._required:
            return True
        traits = 0
        for row in rows:
            traits |= self._forest.at(row).traits
        return all(traits & any_of for any_of in self._required)
