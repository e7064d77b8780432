"""Reading of JSON that clients send."""

from typing import Any, Final

import orjson

MAX_DEPTH: Final = 64
"""Arrays and objects within each other. No API of ours has bodies deeper than 12; orjson writes no more than 254, so a
body of the depth that it reads (1,024) could be stored nowhere."""


class MalformedJson(ValueError):
    """The text is not JSON, or nested too deeply; the message says which, for a client to read."""


def parse_json(data: bytes | bytearray) -> Any:
    """The value of a JSON text that a client sent.

    Raises:
        MalformedJson: It is not JSON (RFC 8259), or deeper than MAX_DEPTH.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise MalformedJson(str(error)) from None
    # Brackets within strings count as well: that costs a look at the value and changes nothing.
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
        raise MalformedJson(f"nested deeper than {MAX_DEPTH} levels")
    return value


def _is_deeper(value: Any, levels: int) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    while level:
        if not levels:
            return True
        levels -= 1
        inner = (item for one in level for item in (one.values() if isinstance(one, dict) else one))
        level = [item for item in inner if isinstance(item, dict | list)]
    return False
