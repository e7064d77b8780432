"""The door: candidates for a query, as many as are wanted."""

from collections.abc import Iterator
from itertools import islice

from control.placement.candidates.alone import alone, lone_trees
from control.placement.candidates.found import Alone, Candidates, Generation, Request
from control.placement.candidates.options import Shares
from control.placement.candidates.search import search
from control.placement.forest import Forest
from control.placement.query import CandidateQuery

USUAL = Generation()


def candidates_for(forest: Forest, query: CandidateQuery, options: Generation = USUAL) -> Candidates:
    """What `query` could be allocated, as the forest stands. Without a random order it is searched no further than the
    limit."""
    shares = Shares(forest)
    lone = lone_trees(forest, query, shares)
    rows = alone(forest, query, lone) if lone is None or lone.any() else []
    found: Iterator[Request] = iter(()) if lone is None else search(forest, query, shares, ~lone, options.strategy)
    if options.most >= 0:
        rows = rows[: options.most]
        found = islice(found, options.most - len(rows))
    if not query.nested and forest.children:
        found = (request for request in found if _is_flat(forest, request))
    if options.random is not None:
        searched = list(found)
        total = len(rows) + len(searched)
        picked = options.random.sample(range(total), total if query.limit is None else min(query.limit, total))
        searched = [searched[n - len(rows)] for n in picked if n >= len(rows)]
        rows = [rows[n] for n in picked if n < len(rows)]
    else:
        rows = rows[: query.limit]
        searched = list(islice(found, None if query.limit is None else query.limit - len(rows)))
    (group, *_) = query.groups
    return Candidates(Alone(group.suffix, group.resources, rows), searched, _told(forest, query, rows, searched))


def _told(forest: Forest, query: CandidateQuery, rows: list[int], searched: list[Request]) -> list[int]:
    """The rows of the providers to summarise: of the whole trees, where nesting is known."""
    if not searched and not forest.children:
        return rows
    used = dict.fromkeys([*rows, *(row for request in searched for row, _, _ in request.pieces)])
    if not query.nested:
        return list(used)
    roots = dict.fromkeys(forest.root[list(used)].tolist())
    return [node.row for root in roots for node in forest.at(root).tree() if node.stored]


def _is_flat(forest: Forest, request: Request) -> bool:
    """No two of its providers are of one tree."""
    rows = {row for row, _, _ in request.pieces}
    return len({int(forest.root[row]) for row in rows}) == len(rows)
