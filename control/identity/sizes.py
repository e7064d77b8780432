"""How large one record of identity may be."""

from typing import Final

from schemas.codec import dumps
from schemas.errors import TooLarge

RECORD_BYTES: Final = 16384


def require_small(noun: str, record: object) -> None:
    """Raises TooLarge."""
    if (length := len(dumps(record))) > RECORD_BYTES:
        raise TooLarge(f"The {noun} is too large: {length} bytes where {RECORD_BYTES} may be.")
