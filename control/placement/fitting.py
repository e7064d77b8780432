"""Which providers answer conditions by themselves: resources, traits, aggregates. Vectorised over all rows, pure."""

import numpy as np

from control.placement.bits import Bits, Mask, RowSets, union
from control.placement.forest import Forest, Node
from control.placement.query import ANYTHING, ProviderQuery, Wanted
from control.placement.resources import Amounts


def rows_with(sets: RowSets, wanted: Wanted, among: Bits) -> Bits:
    """Those of the rows whose names are as wanted."""
    for names in wanted.any_of:
        among &= union(sets[name] for name in names)
    if wanted.forbidden:
        among &= ~union(sets[name] for name in wanted.forbidden)
    return among


def matching(forest: Forest, resources: Amounts, traits: Wanted = ANYTHING, aggregates: Wanted = ANYTHING) -> Mask:
    """The providers that alone have room for all of the resources and bear the traits and aggregates."""
    if not (traits or aggregates or not resources):
        return forest.columns.fits(resources)
    rows = rows_with(forest.with_trait, traits, forest.existing)
    rows = rows_with(forest.in_aggregate, aggregates, rows)
    if not rows:
        return np.zeros(forest.columns.size, dtype=np.bool_)
    found = forest.mask(rows)
    if resources:
        found &= forest.columns.fits(resources)
    return found


def providers_matching(forest: Forest, query: ProviderQuery) -> list[Node]:
    """`GET /resource_providers`, as in Placement each after those that were made before it."""
    return sorted(_matching(forest, query), key=lambda node: node.stored.create_revision if node.stored else 0)


def _matching(forest: Forest, query: ProviderQuery) -> list[Node]:
    found = _named(forest, query)
    if query.in_tree is not None:
        member = forest.get(query.in_tree)
        if member is None:
            return []
        found = list(member.root.tree()) if found is None else [node for node in found if node.root is member.root]
    if found is not None and not found:
        return []
    if query.resources or query.traits or query.aggregates or found is None:
        mask = matching(forest, query.resources, query.traits, query.aggregates)
        if found is None:
            return [forest.at(row) for row in np.flatnonzero(mask).tolist()]
        found = [node for node in found if mask[node.row]]
    return [node for node in found if node.stored]


def _named(forest: Forest, query: ProviderQuery) -> list[Node] | None:
    """Those of this name and uuid; None: neither is asked for."""
    if query.name is None and query.uuid is None:
        return None
    found = forest.get(query.uuid) if query.uuid is not None else forest.named(query.name or "")
    if found is None or (query.name is not None and forest.named(query.name) is not found):
        return []
    return [found]
