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


LATER_TEXT: Final = "Marker {} could not be found."
"""How resources that learned of pages by a microversion refuse an unknown marker"""


def page_of(
    call: Call, items: Sequence[T], ident: Callable[[T], str], missing: str = "marker [{}] not found"
) -> list[T]:
    """The page of a sorted list that `limit` and `marker` ask for. Raises BadRequest for an unknown marker."""
    start, marker = 0, call.arg("marker")
    if marker:
        places = [i for i, item in enumerate(items) if ident(item) == marker]
        if not places:
            raise BadRequest(missing.format(marker))
        start = places[0] + 1
    return list(items[start : start + limit_of(call)])


def with_next(call: Call, collection: str, shown: list[Any], last: str | None, links: str = "") -> dict[str, Any]:
    """The body of a list. As in Nova, a full page has a link to the next one, be there something or not."""
    body: dict[str, Any] = {collection: shown}
    following = next_link(call, len(shown), last)
    return {**body, links or f"{collection}_links": following} if following else body


def next_link(call: Call, count: int, last: str | None) -> list[dict[str, str]] | None:
    """The link that goes on after a page of `count`; None when it is not full. `last` identifies its last item."""
    limit = limit_of(call)
    if last is None or not limit or count != limit:
        return None
    params = sorted((k, v) for k, values in call.query.items() for v in values if k != "marker")
    return [{"rel": "next", "href": f"{call.urls.own(call.path)}?{urlencode([*params, ('marker', last)])}"}]
