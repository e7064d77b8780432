"""Candidates of any request: each tree's ways to serve each group, combined. Lazy, pure."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np

from control.placement.bits import Mask
from control.placement.candidates.found import Request, Strategy
from control.placement.candidates.options import Option, Options, Shares, options_of
from control.placement.fitting import rows_with
from control.placement.forest import Forest, Node
from control.placement.query import CandidateQuery


def search(forest: Forest, query: CandidateQuery, shares: Shares, where: Mask, strategy: Strategy) -> Iterator[Request]:
    """The candidates of the trees whose roots' rows are in `where`. Each uses providers of one tree and those that
    share with it; equal ones are told once."""
    anchors = where & forest.mask(rows_with(forest.with_trait, query.root, forest.existing & ~forest.children))
    groups = []
    for group in query.groups:
        found = options_of(forest, group, shares)
        if found is None:
            return
        groups.append(found)
        anchors &= found.anchors
    combination = Combination(forest, query, groups)
    roots = (forest.at(row) for row in np.flatnonzero(anchors).tolist())
    by_tree = (combination.at(root, list(root.tree())) for root in roots)
    seen: set[Request] = set()
    for request in chain.from_iterable(by_tree) if strategy == "depth-first" else _in_turn(by_tree):
        if request not in seen:  # one that shares alone serves each of its trees in the same way
            seen.add(request)
            yield request


class Combination:
    """One option of each group at a time, given up as soon as some of them cannot go together."""

    def __init__(self, forest: Forest, query: CandidateQuery, groups: list[Options]) -> None:
        self._forest = forest
        self._groups = groups
        self._suffixes = [group.suffix for group in query.groups]
        self._isolated = query.policy == "isolate"
        last = {suffix: depth for depth, suffix in enumerate(self._suffixes)}
        self._subtrees: list[list[list[int]]] = [[] for _ in groups]
        """at each group, which groups it completes that must lie in one subtree"""
        for suffixes in query.same_subtrees:
            depths = sorted(last[suffix] for suffix in suffixes)
            self._subtrees[depths[-1]].append(depths)

    def at(self, root: Node, tree: Sequence[Node]) -> Iterator[Request]:
        """The candidates of one tree, of which these are the providers that count."""
        choices = [_Remembered(group.at(root, tree)) for group in self._groups]
        if all(any(True for _ in options) for options in choices):
            yield from self._extend(choices, (), {})

    def _extend(
        self, choices: "list[_Remembered]", chosen: tuple[Option, ...], amounts: dict[tuple[int, str], int]
    ) -> Iterator[Request]:
        depth = len(chosen)
        if depth == len(choices):
            pieces = frozenset((row, name, amount) for (row, name), amount in amounts.items())
            rows = (option.rows for option in chosen)
            yield Request(pieces, tuple(zip(self._suffixes, rows, strict=True)))
            return
        for option in choices[depth]:
            if self._isolated and self._suffixes[depth] and self._is_taken(option, chosen):
                continue
            together = self._added(amounts, option)
            if together is None:
                continue
            now = (*chosen, option)
            if all(self._is_subtree([now[d] for d in depths]) for depths in self._subtrees[depth]):
                yield from self._extend(choices, now, together)

    def _is_taken(self, option: Option, chosen: tuple[Option, ...]) -> bool:
        """Another group with a suffix is served by the same provider."""
        return any(
            suffix and not option.rows.isdisjoint(other.rows)
            for suffix, other in zip(self._suffixes, chosen, strict=False)
        )

    def _added(self, amounts: dict[tuple[int, str], int], option: Option) -> dict[tuple[int, str], int] | None:
        """The amounts with the option's; None: what several groups take of one provider is more than it has."""
        together = dict(amounts)
        for row, name, amount in option.pieces:
            before = together.get((row, name), 0)
            together[row, name] = before + amount
            if before:
                column = self._forest.columns.get(name)
                if column is None or column.room[row] < before + amount:
                    return None
        return together

    def _is_subtree(self, options: list[Option]) -> bool:
        """One of the providers is above all others, or the only one."""
        nodes = [self._forest.at(row) for row in {row for option in options for row in option.rows}]
        lines = [set(node.line()) for node in nodes]
        return any(all(node in line for line in lines) for node in nodes)


class _Remembered:
    """Options that are made when they are first needed."""

    def __init__(self, options: Iterator[Option]) -> None:
        self._options = options
        self._made: list[Option] = []

    def __iter__(self) -> Iterator[Option]:
        yield from self._made
        for option in self._options:
            self._made.append(option)
            yield option


def _in_turn(iterators: Iterable[Iterator[Request]]) -> Iterator[Request]:
    """One of each, then the next of each."""
    while iterators:
        left = []
        for iterator in iterators:
            request = next(iterator, None)
            if request is not None:
                yield request
                left.append(iterator)
        iterators = left
