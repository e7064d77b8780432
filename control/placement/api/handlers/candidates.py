"""Where a request could be placed."""

from functools import lru_cache
from random import Random
from typing import Final

from control.placement.api.call import Answer, Call
from control.placement.api.candidates_query import parse
from control.placement.candidates.answer import candidates_for
from control.placement.candidates.found import Generation
from control.placement.candidates.render import body_of, shape_of
from control.placement.query import CandidateQuery, Wanted
from control.placement.reading import Reading
from control.placement.vocabulary import unknown_classes, unknown_traits
from schemas.errors import BadRequest
from schemas.settings import PlacementSettings

_DICE: Final = Random()


async def index(call: Call) -> Answer:
    query = parse(call.query, call.version)
    forest = await call.view.current()
    _check_names(Reading(call.view), query)
    found = candidates_for(forest, query, _generation(call.settings))
    return Answer(body_of(forest, query, found, shape_of(call.version)), modified=call.now)


@lru_cache(8)
def _generation(settings: PlacementSettings) -> Generation:
    return Generation(
        settings.max_allocation_candidates,
        settings.allocation_candidates_generation_strategy,
        _DICE if settings.randomize_allocation_candidates else None,
    )


def _check_names(reading: Reading, query: CandidateQuery) -> None:
    """Raises BadRequest."""
    missing = unknown_classes(reading, (name for group in query.groups for name in group.resources))
    if missing:
        raise BadRequest(f"Invalid resource class in resources parameter: No such resource class {missing[0]}.")
    missing = unknown_traits(reading, {n for wanted in (query.root, *_traits(query)) for n in wanted.names()})
    if missing:
        raise BadRequest(f"No such trait(s): {', '.join(missing)}.")


def _traits(query: CandidateQuery) -> list[Wanted]:
    return [group.traits for group in query.groups]
