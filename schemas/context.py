"""What follows a request through a process and across the bus."""

import re
from contextvars import ContextVar
from typing import Final

REQUEST_ID: Final[ContextVar[str]] = ContextVar("request_id", default="")
TRACEPARENT: Final[ContextVar[str]] = ContextVar("traceparent", default="")
"""of W3C's Trace Context: version, trace id, parent id and flags; empty: no trace"""

_TRACEPARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_LATER: Final = re.compile(r"(?!00|ff)[0-9a-f]{2}(-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-)[0-9a-f]{2}(-.*)?")


def valid_traceparent(header: str) -> str:
    """The header, one of a later version as far as ours knows it; empty when it is malformed, as the standard asks."""
    if _TRACEPARENT.fullmatch(header):
        return header
    later = _LATER.fullmatch(header)
    return f"00{later[1]}00" if later else ""


def new_traceparent(random: bytes) -> str:
    """Begins a trace from 24 random bytes. Not sampled: that is for who records it to say."""
    return f"00-{random[:16].hex()}-{random[16:24].hex()}-00"


def trace_id(traceparent: str) -> str:
    return traceparent[3:35]


OPERATION: Final = "kilonova.operation"
"""Where an ASGI scope says which operation it was, for logs and metrics"""
BRIEFLY: Final = "kilonova.briefly"
"""What a room sets in an ASGI scope whose requests are too many to log each: the metrics count them"""
