"""Why a fault that nothing catches does no harm, one by one."""

from typing import Final

REASONS: Final[dict[str, str]] = {}
