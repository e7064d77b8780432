"""The overwhelmingly common request: of one group, served by one provider alone. Found vectorised. Pure."""

import numpy as np

from control.placement.bits import Mask
from control.placement.candidates.options import Shares
from control.placement.fitting import matching, rows_with
from control.placement.forest import Forest
from control.placement.query import CandidateQuery


def lone_trees(forest: Forest, query: CandidateQuery, shares: Shares) -> Mask | None:
    """Rows of the roots of the trees whose candidates are just those providers that each answer the query alone; all
    others have to be searched. None: all trees are such."""
    everything: Mask = np.ones(forest.columns.size, dtype=np.bool_)
    if len(query.groups) > 1:
        return ~everything
    if query.groups[0].suffix:
        # One that shares may serve for a tree whose root is as wanted, while its own is not.
        return None if not (shares.rows and query.root) else ~everything
    if not (shares.rows or forest.children):
        return None
    everything[forest.root[forest.mask(forest.children)]] = False
    for row in shares.rows:
        everything &= ~shares.anchors(row)
    return everything


def alone(forest: Forest, query: CandidateQuery, lone: Mask | None) -> list[int]:
    """The rows, ascending, of the providers in lone trees that answer a query of one group."""
    (group,) = query.groups
    found = matching(forest, group.resources, group.traits, group.aggregates)
    if group.in_tree is not None:
        member = forest.get(group.in_tree)
        found &= forest.root == (member.root.row if member else -1)
    if query.root:
        found &= forest.mask(rows_with(forest.with_trait, query.root, forest.existing))[forest.root]
    if lone is not None:
        found &= lone[forest.root]
    rows: list[int] = np.flatnonzero(found).tolist()
    return rows
