"""The door: candidates for a query."""

from control.placement.candidates.alone import alone, is_for_one
from control.placement.candidates.found import Candidates, Generation
from control.placement.candidates.search import search
from control.placement.forest import Forest
from control.placement.query import CandidateQuery

USUAL = Generation()


def candidates_for(forest: Forest, query: CandidateQuery, options: Generation = USUAL) -> Candidates:
    """What `query` could be allocated, up to its limit, as the forest stands."""
    find = alone if is_for_one(forest, query) else search
    return find(forest, query, options)
