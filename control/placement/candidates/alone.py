"""The overwhelmingly common request: one group that each provider serves alone. Vectorised."""

import numpy as np

from control.placement.candidates.found import NOTHING, Alone, Candidates, Generation, told_of
from control.placement.fitting import matching, rows_with
from control.placement.forest import SHARING, Forest
from control.placement.query import CandidateQuery


def is_for_one(forest: Forest, query: CandidateQuery) -> bool:
    """Whether every candidate is one provider, found by itself, anchored at its own root."""
    if len(query.groups) != 1:
        return False
    shared = forest.with_trait[SHARING]
    if query.groups[0].suffix:
        return not (shared and query.root)  # one that shares may be anchored elsewhere, where the root is as wanted
    return not (shared or forest.children)


def alone(forest: Forest, query: CandidateQuery, options: Generation) -> Candidates:
    """As `search` would find, where `is_for_one`."""
    (group,) = query.groups
    found = matching(forest, group.resources, group.traits, group.aggregates)
    if group.in_tree is not None:
        member = forest.get(group.in_tree)
        if member is None:
            return NOTHING
        found &= forest.root == member.root.row
    if query.root:
        roots = forest.mask(rows_with(forest.with_trait, query.root, forest.existing & ~forest.children))
        found &= roots[forest.root]
    rows = np.flatnonzero(found)
    if options.most >= 0:
        rows = rows[: options.most]
    if options.random is not None:
        rows = rows[options.random.sample(range(len(rows)), min(len(rows), query.limit or len(rows)))]
    elif query.limit is not None:
        rows = rows[: query.limit]
    chosen = rows.tolist()
    return Candidates(Alone(group.suffix, group.resources, chosen), told_of(forest, chosen, query.nested))
