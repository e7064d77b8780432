"""What several schemas share."""

from typing import Final

from control.placement.api.validation import Schema

MAX_INT: Final = 2147483647
MAX_FLOAT: Final = 3.40282e38
"""The largest single-precision number, to which Placement holds ratios."""

UUID_KEY: Final = "^[0-9a-fA-F-]{36}$"
CLASS_KEY: Final = "^[A-Z0-9_]+$"
CUSTOM_KEY: Final = "^CUSTOM_[A-Z0-9_]+$"
NUMBERED: Final = "[1-9][0-9]*"
"""suffixes of request groups, 1.25 to 1.32"""
NAMED: Final = "[a-zA-Z0-9_-]{1,64}"
"""suffixes since 1.33"""

STRING: Final[Schema] = {"type": "string"}
UUID: Final[Schema] = {"type": "string", "format": "uuid"}
GENERATION: Final[Schema] = {"type": "integer"}
OWNER: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 255}
"""a project or user"""
