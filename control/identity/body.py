"""Fields of a request's object, checked one by one with an answer that names the field."""

from typing import Any

from schemas.errors import BadRequest
from schemas.identity import DOMAIN

NAME_LENGTH = 255


def text(given: dict[str, Any], field: str, default: str = "") -> str:
    value = given.get(field, default)
    if value is None:
        return default
    if not isinstance(value, str):
        raise BadRequest(f"Invalid input for field '{field}': {value!r} is not of type 'string'")
    return value


def optional_text(given: dict[str, Any], field: str, default: str | None) -> str | None:
    """Null is a value here: it clears the field."""
    return None if field in given and given[field] is None else text(given, field, default or "") or None


def name(given: dict[str, Any], default: str | None = None) -> str:
    """Required where there is no default."""
    value = given.get("name", default)
    if not isinstance(value, str) or not value.strip():
        raise BadRequest("Invalid input for field 'name': it must be a string that is not empty")
    if len(value) > NAME_LENGTH:
        raise BadRequest(f"Invalid input for field 'name': it is longer than {NAME_LENGTH} characters")
    return value


def flag(given: dict[str, Any], field: str, default: bool) -> bool:
    value = given.get(field, default)
    if not isinstance(value, bool):
        raise BadRequest(f"Invalid input for field '{field}': {value!r} is not of type 'boolean'")
    return value


def in_default_domain(given: dict[str, Any]) -> None:
    if given.get("domain_id") not in (None, DOMAIN):
        raise BadRequest(f"This site has one domain, '{DOMAIN}'.")
