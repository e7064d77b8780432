"""What a client says of a record, beside the fields that the record has. Pure."""

from collections.abc import Iterable
from typing import Any

from schemas.errors import BadRequest, NotFound
from schemas.identity import DOMAIN


def extra(given: dict[str, Any], own: Iterable[str]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in own}


def require_domain(given: dict[str, Any]) -> None:
    """Raises NotFound for any but the one that there is."""
    if given.get("domain_id") not in (None, DOMAIN):
        raise NotFound(f"Could not find domain: {given['domain_id']}.")


def require_id(given: dict[str, Any], id_: str) -> None:
    if given.get("id", id_) != id_:
        raise BadRequest("Cannot change the ID of an entity.")
