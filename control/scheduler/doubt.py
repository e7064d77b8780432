"""Whether a refusal may be final: only what is certain of a host rules it out. Pure."""

from typing import Final

import numpy as np
from attrs import evolve

from control.scheduler.filters.compute import DOWN
from control.scheduler.filters.shapes import HostFilter
from control.scheduler.model import HostState, Model
from control.scheduler.pipeline import Pipeline
from control.scheduler.request import Request
from control.scheduler.request_filters import Impossible
from control.scheduler.screen import NO_CELL, NOT_REPORTED, verdicts
from control.scheduler.trees import Trees

UNCERTAIN: Final = frozenset({NOT_REPORTED, NO_CELL, DOWN})
"""Reasons that may be other in a moment, though nothing is freed and nobody changes anything: what is not heard of a
host, or of its cell, says nothing of its room."""
SILENT_LEASES: Final = 5
"""times of a host's lease after which its silence counts: a build ends with Nova's refusal then, instead of waiting for
its own deadline, an hour"""


def may_fit(
    model: Model, request: Request, pipeline: Pipeline, enabled: frozenset[str], silent: frozenset[str] = frozenset()
) -> bool:
    """Whether a host could take the request if all enabled cells and all hosts were heard of, but those that have been
    `silent` for so long that they count as down. A host that is known in part counts as one that could."""
    try:
        request = pipeline.prepared(evolve(request, cells=enabled), model)
    except Impossible:
        return False
    filters = pipeline.filters_for(request)
    left = np.ones(len(model.rows), np.bool_)
    partly = np.array([_known_in_part(state, enabled) for state in model.rows], np.bool_)
    for _, reason, bad in verdicts(model, request, filters, Trees(model, request)):
        if reason == DOWN:
            left &= ~(bad & model.only(silent))
        elif reason not in UNCERTAIN:
            left &= ~bad
    operators = model.flags["disabled"] | model.flags["forced_down"]
    if bool((partly & ~operators).any()):
        return True
    askers = [f.run for f in filters.values() if isinstance(f, HostFilter)]
    states = (model.rows[row] for row in np.flatnonzero(left))
    return any(
        state.complete and state.cell in enabled and all(ask(state, request) is None for ask in askers)
        for state in states
    )


def _known_in_part(state: HostState, enabled: frozenset[str]) -> bool:
    """Its cell reports it and the top has not mapped it yet, or the top has and its cell is not heard of."""
    if state.mapping is None:
        return state.facts is not None
    return state.cell in enabled and not state.complete
