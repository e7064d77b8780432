"""Query strings as lists by name."""

from urllib.parse import parse_qsl

from control.placement.api.call import Query
from schemas.errors import BadRequest


def parse_query(text: bytes) -> Query:
    """Raises BadRequest for what is no UTF-8."""
    found: Query = {}
    try:
        for name, value in parse_qsl(text.decode("latin-1"), keep_blank_values=True, errors="strict"):
            found.setdefault(name, []).append(value)
    except UnicodeDecodeError as error:
        raise BadRequest(f"Invalid query string parameters: {error}") from None
    return found
