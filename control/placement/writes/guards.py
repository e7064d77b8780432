"""What every transaction that writes allocations asks for consent, besides capacity."""

from typing import Final

from control.placement.writes.allocations import Guard

GUARDS: Final[tuple[Guard, ...]] = ()
"""Hard policies of server groups belong here: each sees a consumer's allocation before and after."""
