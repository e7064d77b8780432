"""Lists as Keystone gives them: filters, exact and by comparison, and pages. Pure."""

from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import urlencode

from schemas.errors import BadRequest

COMPARISONS: Final[dict[str, Callable[[str, str], bool]]] = {
    "contains": lambda value, asked: asked in value,
    "icontains": lambda value, asked: asked.casefold() in value.casefold(),
    "startswith": lambda value, asked: value.startswith(asked),
    "istartswith": lambda value, asked: value.casefold().startswith(asked.casefold()),
    "endswith": lambda value, asked: value.endswith(asked),
    "iendswith": lambda value, asked: value.casefold().endswith(asked.casefold()),
}

LONGEST_NUMBER: Final = 9
"""digits of a limit"""

View = dict[str, Any]


def is_true(query: dict[str, str], name: str) -> bool:
    """A flag is set by its name alone, and by any value but these."""
    return name in query and query[name].lower() not in ("0", "false")


def matching(views: Iterable[View], query: dict[str, str], fields: tuple[str, ...]) -> list[View]:
    """Those that have, in each of `fields` that is asked for, what is asked."""
    tests = [test for name, value in query.items() if (test := _test(name, value, fields))]
    return [view for view in views if all(test(view) for test in tests)]


def paged(name: str, views: list[View], query: dict[str, str], url: str) -> View:
    """The body: of the entries after `marker`, `limit` at most. Raises BadRequest."""
    limit = _limit(query.get("limit"))
    if "marker" in query:
        at = next((n for n, view in enumerate(views) if view["id"] == query["marker"]), None)
        if at is None:
            raise BadRequest(f"Could not find marker: {query['marker']}.")
        views = views[at + 1 :]
    following = None
    if limit and len(views) > limit:
        views = views[:limit]
        following = f"{url.partition('?')[0]}?{urlencode({**query, 'marker': views[-1]['id']})}"
    return {name: views, "links": {"next": following, "self": url, "previous": None}}


def _test(name: str, asked: str, fields: tuple[str, ...]) -> Callable[[View], bool] | None:
    field, _, comparison = name.partition("__")
    if field not in fields:
        return None
    if not comparison:
        return lambda view: _same(view.get(field), asked)
    compare = COMPARISONS.get(comparison)
    if compare is None:
        return None
    return lambda view: isinstance(view.get(field), str) and compare(view[field], asked)


def _same(value: Any, asked: str) -> bool:
    if isinstance(value, bool):
        return value == (asked.lower() not in ("0", "false"))
    return value is not None and str(value) == asked


def _limit(text: str | None) -> int:
    """0: none."""
    if text is None:
        return 0
    if not text.isdecimal() or len(text) > LONGEST_NUMBER:
        raise BadRequest(f"Invalid input for field 'limit': {text[:40]!r} is not a whole number.")
    return int(text)
