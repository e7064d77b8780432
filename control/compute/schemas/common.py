"""Pieces that several schemas share, and how to read the values that they let through."""

import uuid
from ipaddress import ip_address
from typing import Any, Final

from schemas.errors import BadRequest
from schemas.numbers import whole_number

Schema = dict[str, Any]

TRUE_WORDS: Final = (True, "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes", "y", "t")
FALSE_WORDS: Final = (False, "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no", "n", "f")

BOOLEAN: Final[Schema] = {"type": ["boolean", "string"], "enum": [*TRUE_WORDS, *FALSE_WORDS]}
NAME: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 255, "format": "name"}
UUID: Final[Schema] = {"type": "string", "format": "uuid"}
WORD: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 255}
HOST: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9-._]*$"}
COUNT: Final[Schema] = {"type": ["integer", "string"], "pattern": "^[0-9]*$", "minimum": 1, "minLength": 1}
NON_NEGATIVE: Final[Schema] = {"type": ["integer", "string"], "pattern": "^[0-9]*$", "minimum": 0, "minLength": 1}
IPV4_OR_EMPTY: Final[Schema] = {"type": "string", "anyOf": [{"format": "ipv4"}, {"enum": [""]}]}
IPV6_OR_EMPTY: Final[Schema] = {"type": "string", "anyOf": [{"format": "ipv6"}, {"enum": [""]}]}
DISK_CONFIG: Final[Schema] = {"type": "string", "enum": ["AUTO", "MANUAL"]}
DESCRIPTION: Final[Schema] = {"type": ["string", "null"], "maxLength": 255, "pattern": r"^[^\x00-\x08\x0b-\x1f\x7f]*$"}
TAG: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 60, "pattern": "^[^,/]*$"}
METADATA: Final[Schema] = {
    "type": "object",
    "patternProperties": {"^[a-zA-Z0-9-_:. ]{1,255}$": {"type": "string", "maxLength": 255}},
    "additionalProperties": False,
}
MAX_TAGS: Final = 50


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def body(name: str, inner: Schema, **further: Schema) -> Schema:
    """`{name: inner}` and optional further keys."""
    return {
        "type": "object",
        "properties": {name: inner, **further},
        "required": [name],
        "additionalProperties": False,
    }


def fields(properties: Schema, *required: str) -> Schema:
    """An object with these keys and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def null_action(name: str) -> Schema:
    """`{"os-start": null}`; Nova lets anything stand for the null."""
    return body(name, {})


def many(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def single(item: Schema) -> Schema:
    return {"type": "array", "items": item, "maxItems": 1}


ANY: Final[Schema] = many({"type": "string"})
INTEGER: Final[Schema] = {"type": "string", "pattern": "^[0-9]*$", "minLength": 1}
LIMIT: Final[Schema] = many(INTEGER)
PAGE: Final[Schema] = {"limit": LIMIT, "marker": ANY}


def query(properties: Schema, *, strict: bool = False) -> Schema:
    """Unknown keys are dropped later unless `strict`."""
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": not strict,
    }


def truth(value: object) -> bool:
    """What BOOLEAN let through."""
    return value in TRUE_WORDS


def number(value: int | str) -> int:
    """What COUNT or NON_NEGATIVE let through."""
    return (whole_number(value) or 0) if isinstance(value, str) else value


def address(value: str | None) -> str | None:
    """What IPV4_OR_EMPTY or IPV6_OR_EMPTY let through, in its shortest form; None for nothing."""
    return ip_address(value).compressed if value else None


def check_uuid(ident: str) -> None:
    """Of a path. Raises BadRequest."""
    try:
        uuid.UUID(ident)
    except ValueError:
        raise BadRequest(f"Invalid uuid {ident}") from None
