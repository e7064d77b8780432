"""Hosts whose resources lie on several providers: their own, others of its tree, some that share with it. Pure.

Where a host's own provider is the only one that offers any of what is asked, columns decide (`screen`). Elsewhere the
columns only rule out; placement's search for candidates says what to take where. As in Nova, a candidate is a host's
if it takes something of the host's own provider.
"""

from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from typing import Final

import numpy as np

from control.placement.bits import Bits, Mask
from control.placement.candidates.options import Shares, options_of
from control.placement.candidates.search import Combination
from control.placement.columns import NOT_OFFERED
from control.placement.forest import SHARING, Node
from control.placement.query import ANYTHING, CandidateQuery, Group, Wanted
from control.placement.resources import Amounts
from control.scheduler.columns import Column
from control.scheduler.model import HostState, Model
from control.scheduler.request import Request

Resources = dict[str, Amounts]
"""by provider"""

TOGETHER: Final = "have no providers that give all of it together"
MOST: Final = 1000
"""candidates of one host that are looked at"""


class Trees:
    """Built for one decision. `hosts`: those for which other providers than their own may count; None: no host."""

    def __init__(self, model: Model, request: Request) -> None:
        self._model = model
        self.query = query_of(request)
        served = {group.suffix for group in self.query.groups}
        self.of_host = request.required | request.forbidden
        """traits that the host itself has to have, or must not"""
        for suffix, demand in request.demands.groups.items():
            if suffix not in served:
                self.of_host |= demand.required | demand.forbidden
        self._forest = model.forest
        self._shares = Shares(model.forest)
        self.hosts = self._hosts(request.asked)

    def __contains__(self, state: HostState) -> bool:
        return self.hosts is not None and bool(self.hosts[state.row])

    def reached(self, rows: Mask) -> Column:
        """The hosts whose tree has one of these providers, or with whom one of them shares."""
        roots = np.zeros(self._forest.columns.size, dtype=np.bool_)
        roots[self._forest.root[rows]] = True
        for row in self._shares.rows:
            if rows[row]:
                roots |= self._shares.anchors(row)
        return self._model.of_hosts(roots[self._forest.root])

    def bearing(self, rows: Bits) -> Column:
        """As `reached`."""
        return self.reached(self._forest.mask(rows))

    def resources(self, state: HostState) -> Resources | None:
        """What to take where for a server on this host, as things stand now; None when it cannot be had."""
        assert state.node is not None
        if self._combination is None:
            return None
        candidates = self._combination.at(state.node.root, list(self._tree(state.node)))
        for candidate in islice(candidates, MOST):
            taken: Resources = {}
            for row, name, amount in sorted(candidate.pieces):
                taken.setdefault(self._forest.at(row).uuid, {})[name] = amount
            # What was found to fit when the decision began may be given to another of its batch by now.
            if state.node.uuid in taken and self.times(taken):
                return taken
        return None

    def times(self, taken: Resources) -> int:
        """How often these amounts are there."""
        found = []
        for uuid, amounts in taken.items():
            row = self._forest.nodes[uuid].row
            for name, amount in amounts.items():
                column = self._forest.columns.get(name)
                free = int(column.capacity[row] - column.used[row]) if column else 0
                found.append(max(free, 0) // amount)
        return min(found, default=0)

    @cached_property
    def _combination(self) -> Combination | None:
        """Made when a host has to be searched; None: nothing can serve one of the groups."""
        options = [options_of(self._forest, group, self._shares) for group in self.query.groups]
        able = [o for o in options if o is not None]
        return Combination(self._forest, self.query, able) if able and len(able) == len(options) else None

    def _tree(self, own: Node) -> Iterator[Node]:
        """The providers of its tree that count for a host: not other hosts and what is below them."""
        for above in own.line():
            if above is not own and self._model.of_provider(above.uuid) is None:
                yield above
        waiting = [own]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(c for c in reversed(node.children) if self._model.of_provider(c.uuid) is None)

    def _hosts(self, asked: Amounts) -> Column | None:
        forest, model = self._forest, self._model
        if not (forest.children or forest.with_trait[SHARING]):
            return None
        others = np.zeros(forest.columns.size, dtype=np.bool_)
        for name in asked:
            column = forest.columns.get(name)
            if column is not None:
                others |= column.room != NOT_OFFERED
        others[model.provider_rows[model.flags["complete"]]] = False
        found = self.reached(others)
        return found if found.any() else None


def query_of(request: Request) -> CandidateQuery:
    """What Nova would ask of placement. Traits of the host itself are not in it: they are compared before."""
    groups, base = [], dict(request.asked)
    for suffix, demand in request.demands.groups.items():
        if suffix and demand.resources:
            groups.append(Group(suffix, dict(demand.resources), _wanted(demand.required, demand.forbidden)))
            for name, amount in demand.resources.items():
                base[name] -= amount
    base = {name: amount for name, amount in base.items() if amount > 0}
    plain = request.demands.groups.get("")
    if base:
        members = Wanted(
            tuple(m.aggregates for m in request.inside),
            frozenset().union(*(m.aggregates for m in request.outside)),
        )
        traits = _wanted(plain.required, plain.forbidden) if plain else ANYTHING
        groups.insert(0, Group("", base, traits, members))
    return CandidateQuery(tuple(groups), "isolate" if request.demands.isolate else "none")


def _wanted(required: frozenset[str], forbidden: frozenset[str]) -> Wanted:
    return Wanted(tuple(frozenset({trait}) for trait in sorted(required)), forbidden)
