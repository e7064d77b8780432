"""Whole numbers that strangers write, of any number of digits: Python refuses to read more than 4,300."""

import re
from typing import Final

MOST: Final = 2**63 - 1
"""The largest number that is told from larger ones"""
_DIGITS: Final = re.compile(r"-?[0-9]+", re.ASCII)
_LONGEST: Final = 30


def whole_number(text: str) -> int | None:
    """The number that a string of ASCII digits says, perhaps after a minus, but at most `MOST` and at least `-MOST`;
    None for anything else."""
    if not _DIGITS.fullmatch(text):
        return None
    number = int(text) if len(text) <= _LONGEST else MOST
    limited = max(-MOST, min(MOST, number))
    return -MOST if text[0] == "-" and len(text) > _LONGEST else limited
