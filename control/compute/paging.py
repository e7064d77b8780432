"""`limit`, `marker` and the link to the next page."""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from control.compute.call import Call
from schemas.errors import BadRequest

T = TypeVar("T")

MAX_LIMIT: Final = 1000
"""Nova's max_limit"""


def limit_of(call: Call) -> int:
    """Raises BadRequest for what is no number."""
    asked = call.arg("limit")
    if asked is None:
        return MAX_LIMIT
    try:
        limit = int(asked)
    except ValueError:
        raise BadRequest("limit param must be an integer") from None
    if limit < 0:
        raise BadRequest("limit param must be positive")
    return min(limit, MAX_LIMIT)


def page_of(call: Call, items: Sequence[T], ident: Callable[[T], str]) -> list[T]:
    """The page of a sorted list that `limit` and `marker` ask for. Raises BadRequest for an unknown marker."""
    start, marker = 0, call.arg("marker")
    if marker:
        places = [i for i, item in enumerate(items) if ident(item) == marker]
        if not places:
            raise BadRequest(f"marker [{marker}] not found")
        start = places[0] + 1
    return list(items[start : start + limit_of(call)])


def with_next(call: Call, collection: str, shown: list[Any], last: str | None, links: str = "") -> dict[str, Any]:
    """The body of a list. As in Nova, a full page has a link to the next one, be there something or not."""
    body: dict[str, Any] = {collection: shown}
    limit = limit_of(call)
    if last is not None and limit and len(shown) == limit:
        params = sorted((k, v) for k, values in call.query.items() for v in values if k != "marker")
        href = f"{call.urls.own(call.path)}?{urlencode([*params, ('marker', last)])}"
        body[links or f"{collection}_links"] = [{"rel": "next", "href": href}]
    return body
