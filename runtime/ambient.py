"""Time, ids and chance as the shells take them: from the machine, or from a simulation that has put itself here.

Pure functions take these as arguments; a shell asks here, in one place, so that a seed can replay a whole site.
"""

import os
import random
from collections.abc import Callable
from datetime import UTC, datetime

from attrs import define


def _wall_clock() -> datetime:
    return datetime.now(UTC)


def _random_uuid() -> str:
    """As `str(uuid4())`, which takes five times as long."""
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


@define
class Ambient:
    clock: Callable[[], datetime] = _wall_clock
    uuids: Callable[[], str] = _random_uuid
    chance: Callable[[], float] = random.random
    """in [0, 1)"""


_ambient = Ambient()


def now() -> datetime:
    return _ambient.clock()


def new_uuid() -> str:
    return _ambient.uuids()


def chance() -> float:
    """In [0, 1): for jitter, never for secrets."""
    return _ambient.chance()


def replace_ambient(ambient: Ambient) -> Ambient:
    """Returns what was there, to be put back."""
    global _ambient
    before, _ambient = _ambient, ambient
    return before
