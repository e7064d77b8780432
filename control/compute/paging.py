"""`limit`, `marker` and the link to the next page."""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from control.compute.call import Call
from schemas.errors import BadRequest
from schemas.numbers import whole_number

T = TypeVar("T")

MAX_LIMIT: Final = 1000
"""Nova's max_limit"""


def limit_of(call: Call) -> int:
    """Raises BadRequest for what is no number."""
    limit = count_of(call, "limit")
    return MAX_LIMIT if limit is None else min(limit, MAX_LIMIT)


def count_of(call: Call, name: str) -> int | None:
    """A count of things that the query names, of any number of digits; None without it.

    Raises BadRequest for what is no number.
    """
    asked = call.arg(name)
    if asked is None:
        return None
    number = whole_number(asked)
    if number is None:
        raise BadRequest(f"{name} param must be an integer")
    if number < 0:
        raise BadRequest(f"{name} param must be positive")
    return number


LATER_TEXT: Final = "Marker {} could not be found."
"""How resources that learned of pages by a microversion refuse an unknown marker"""


def page_of(
    call: Call,
    items: Sequence[T],
    ident: Callable[[T], str],
    missing: str = "marker [{}] not found",
    wants: Callable[[T], bool] = lambda _: True,
) -> list[T]:
    """The page of a sorted list that `limit` and `marker` ask for, of what `wants` takes. The marker is looked for
    apart from that. Raises BadRequest for an unknown one."""
    start, marker = 0, call.arg("marker")
    if marker:
        places = [i for i, item in enumerate(items) if ident(item) == marker]
        if not places:
            raise BadRequest(missing.format(marker))
        start = places[0] + 1
    return list(islice(filter(wants, islice(items, start, None)), limit_of(call)))


def with_next(call: Call, collection: str, shown: list[Any], last: str | None, links: str = "") -> dict[str, Any]:
    """The body of a list. As in Nova, a full page has a link to the next one, be there something or not."""
    body: dict[str, Any] = {collection: shown}
    following = next_link(call, len(shown), last)
    return {**body, links or f"{collection}_links": following} if following else body


def next_link(call: Call, count: int, last: str | None) -> list[dict[str, str]] | None:
    """The link that goes on after a page of `count`; None when it is not full. `last` identifies its last item.

    The values of a repeated parameter stay in their order: the first direction is the first sort key's.
    """
    limit = limit_of(call)
    if last is None or not limit or count != limit:
        return None
    params = [(k, v) for k, values in sorted(call.query.items()) for v in values if k != "marker"]
    return [{"rel": "next", "href": f"{call.urls.own(call.path)}?{urlencode([*params, ('marker', last)])}"}]
