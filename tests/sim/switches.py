"""What seeds leave out unless `--all` is given. An entry names the fault of the product, and goes with its repair."""

from typing import Final

OFF: Final[dict[str, str]] = {
    "cut": "a final refusal by a process of the top that is cut off",
    "freeze": "a build that waits for a frozen cell has no deadline",
    "silent": "a final refusal on a view that stands still",
    "reopen": "a final refusal while watches are opened again",
    "full": "not tried yet",
    "slow hypervisor": "not tried yet",
    "skew": "deadlines of messages are wall clock",
    "all at once": "a scheduler that was just started refuses what it is asked",
    "unreadable": "one unreadable record takes a whole store's work",
    "quota": "limits are read and not compared",
}
"""faults and operators' deeds, by name"""

TOLERATED: Final[dict[str, str]] = {
    "I1": "updates are lost when a server changes its store",
    "I9": "liveness and half-known views refuse for good",
}
"""invariants that are looked at and not counted as violations"""
