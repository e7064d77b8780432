"""The decision itself: from a model and a request to a host with alternates, or to the reasons why there is none."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
from attrs import field, frozen

from control.placement.resources import lacking, needed_by
from control.scheduler.filters import Filter
from control.scheduler.model import HostState, Model
from schemas.server import RequestSpec


@frozen
class Choice:
    host: HostState
    alternates: tuple[str, ...] = ()


@frozen
class Refusal:
    """How many hosts each reason removed, of how many."""

    hosts: int
    reasons: dict[str, int] = field(factory=dict)

    def text(self) -> str:
        """For operators; tenants see Nova's own sentence."""
        why = ", ".join(f"{count} {reason}" for reason, count in sorted(self.reasons.items(), key=lambda r: -r[1]))
        return f"0 of {self.hosts} hosts: {why}" if why else f"0 of {self.hosts} hosts"


@frozen
class Wish:
    """What is asked for. `avoid` were tried in vain, `prefer` are alternates chosen before, `busy` have a claim of
    ours under way and are taken only when nothing else is left."""

    spec: RequestSpec
    cells: frozenset[str]
    avoid: frozenset[str] = frozenset()
    prefer: frozenset[str] = frozenset()
    busy: frozenset[str] = frozenset()


def choose(model: Model, wish: Wish, filters: Mapping[str, Filter], alternates: int) -> Choice | Refusal:
    """The best host and up to `alternates` more. Weighing comes first and is vectorised, so that the filters, which
    are not, stop at the first hosts that pass."""
    asked = needed_by(wish.spec.flavor)
    rows = model.fitting(asked)
    weights = weigh(model, rows)
    passed: list[HostState] = []
    removed: Counter[str] = Counter()
    order = np.lexsort((rows, -weights))
    states = [model.rows[rows[i]] for i in order]
    states.sort(key=lambda s: (s.host not in wish.prefer, s.host in wish.busy))
    for state in states:
        # The columns know totals of the common classes; units, steps and other classes are asked of the host itself.
        reason = refuse(state, wish, filters) or _lacks(state, wish)
        if reason is not None:
            removed[reason] += 1
            continue
        passed.append(state)
        if len(passed) > alternates:
            break
    if passed:
        return Choice(passed[0], tuple(s.host for s in passed[1:]))
    fitting = {s.host for s in states}
    for state in model.rows:
        if state.host not in fitting:
            removed[_lacks(state, wish) or "lack room"] += 1
    return Refusal(len(model.rows), dict(removed))


def refuse(state: HostState, wish: Wish, filters: Mapping[str, Filter]) -> str | None:
    """Why this host cannot take it, capacity aside."""
    if not state.complete:
        return "not fully reported yet"
    if state.cell not in wish.cells:
        return "in a disabled or unreachable cell"
    if state.host in wish.avoid:
        return "failed before"
    forced = wish.spec.forced_host
    if forced:
        # zone:host skips the filters, as in Nova; only the dead are left out.
        return "not the forced host" if state.host != forced else None
    if wish.spec.requested_host and state.host != wish.spec.requested_host:
        return "not the requested host"
    for run in filters.values():
        reason = run(state, wish.spec)
        if reason is not None:
            return reason
    return None


def weigh(model: Model, rows: np.ndarray) -> np.ndarray:
    """Nova's RAM, CPU and disk weighers: more free is better, each normalised over these rows, multipliers 1."""
    if not len(rows):
        return np.zeros(0)
    free = (model.capacity[:, rows] - model.used[:, rows]).astype(np.float64)
    low, high = free.min(axis=1, keepdims=True), free.max(axis=1, keepdims=True)
    span = np.where(high > low, high - low, 1.0)
    total: np.ndarray = ((free - low) / span).sum(axis=0)
    return total


def _lacks(state: HostState, wish: Wish) -> str | None:
    if state.provider is None:
        return "not fully reported yet"
    used = state.usages.value.used if state.usages else {}
    name = lacking(state.provider.value.inventories, used, needed_by(wish.spec.flavor))
    return f"lack {needed_by(wish.spec.flavor)[name]} {name}" if name else None
