"""What came of it, for people, and whether it is good enough."""

from collections.abc import Sequence
from typing import Final

from tests.fuzz.run import Outcome

WANTED: Final = 0.9
"""of the operations that a role is allowed, those that have to reach a success"""


def table(outcomes: Sequence[Outcome], title: str) -> str:
    lines = [title, f"{'operation':32} {'allowed':8} {'2xx':>5} {'4xx':>5} {'5xx':>5}  broken"]
    for outcome in outcomes:
        classes = [sum(n for code, n in outcome.codes.items() if code // 100 == hundred) for hundred in (2, 4, 5)]
        done, refused, failed = classes
        allowed = "yes" if outcome.allowed else "no"
        lines.append(
            f"{outcome.target.name:32} {allowed:8} {done:5} {refused:5} {failed:5}  {len(outcome.broken) or ''}"
        )
    return "\n".join(lines)


def summed_up(outcomes: Sequence[Outcome], title: str) -> bool:
    """Prints one line; whether everything held."""
    allowed = [o for o in outcomes if o.allowed]
    reached = [o for o in allowed if o.reached]
    missing = [o.target.name for o in allowed if not o.reached]
    failed = sum(n for o in outcomes for code, n in o.codes.items() if code >= 500 and code != 501)
    broken = sum(len(o.broken) for o in outcomes)
    sent = sum(o.codes.total() for o in outcomes)
    print(
        f"{title}: {sent} requests, {len(reached)} of {len(allowed)} allowed operations reached a 2xx, "
        f"{failed} answers of 5xx but 501, {broken} broken promises"
        + (f"; never: {', '.join(missing)}" if missing else ""),
        flush=True,
    )
    return not failed and not broken and len(reached) >= WANTED * len(allowed)
