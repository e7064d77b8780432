"""Lists of images: which ones, in which order, which page. Pure."""

import operator
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode

from attrs import frozen

from control.images.access import owns
from control.images.attributes import VISIBILITIES
from control.images.views import image_view
from schemas.errors import BadRequest
from schemas.identity import Identity
from schemas.image import Image

DEFAULT_LIMIT: Final = 25
MAX_LIMIT: Final = 1000
LONGEST_NUMBER: Final = 18
"""digits: Python refuses to read some thousands of them, and a size in bytes has no more"""
MOST_SORTS: Final = 8
PAGING: Final = ("limit", "marker", "sort", "sort_key", "sort_dir", "member_status", "visibility", "tag")
SORT_KEYS: Final = {
    "name": "name",
    "status": "status",
    "container_format": "container_format",
    "disk_format": "disk_format",
    "size": "size",
    "id": "id",
    "created_at": "created",
    "updated_at": "updated",
}
"""by which field of the record"""
SIZES: Final = ("size_min", "size_max")
MOMENTS: Final = ("created_at", "updated_at")
LISTED: Final = ("id", "name", "status", "container_format", "disk_format")
"""what `in:` may ask for several of"""
OPERATORS: Final[dict[str, Callable[[datetime, datetime], bool]]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "eq": operator.eq,
    "neq": operator.ne,
    "lt": operator.lt,
    "lte": operator.le,
}
MEMBER_STATUSES: Final = ("pending", "accepted", "rejected", "all")


@frozen
class Query:
    filters: tuple[tuple[str, str], ...]
    tags: tuple[str, ...]
    visibility: str
    """`all`, one of Glance's, or empty: what one would expect to see"""
    member_status: str
    sort: tuple[tuple[str, bool], ...]
    """key and whether it descends"""
    limit: int
    marker: str | None


def parse_query(items: list[tuple[str, str]]) -> Query:
    """Raises BadRequest."""
    given = dict(items)
    visibility, member_status = given.get("visibility", ""), given.get("member_status", "accepted")
    if visibility not in ("", "all", *VISIBILITIES):
        raise BadRequest(f"Invalid visibility value: {visibility}")
    if member_status not in MEMBER_STATUSES:
        raise BadRequest(f"Invalid status: {member_status}")
    for name, value in items:
        if name not in PAGING:
            _require_sense(name, value)
    return Query(
        filters=tuple((name, value) for name, value in given.items() if name not in PAGING),
        tags=tuple(value for name, value in items if name == "tag"),
        visibility=visibility,
        member_status=member_status,
        sort=_sort(items),
        limit=_limit(given.get("limit")),
        marker=given.get("marker") or None,
    )


def page(images: Iterable[Image], query: Query, who: Identity) -> tuple[list[Image], bool]:
    """The page, and whether there is more after it. Raises BadRequest when the marker is not in the list."""
    found = [i for i in images if _listed(i, query, who) and _matches(i, query)]
    for key, descends in reversed((*query.sort, ("id", True))):
        found.sort(key=partial(_order, SORT_KEYS[key]), reverse=descends)
    start = 0
    if query.marker is not None:
        at = next((n for n, image in enumerate(found) if image.id == query.marker), None)
        if at is None:
            raise BadRequest("Invalid marker. Image could not be found.")
        start = at + 1
    return found[start : start + query.limit], len(found) > start + query.limit


def next_link(items: list[tuple[str, str]], last: str) -> str:
    kept = [(name, value) for name, value in items if name != "marker"]
    return f"/v2/images?{urlencode([*kept, ('marker', last)])}"


def first_link(items: list[tuple[str, str]]) -> str:
    kept = [(name, value) for name, value in items if name != "marker"]
    return f"/v2/images?{urlencode(kept)}" if kept else "/v2/images"


def _listed(image: Image, query: Query, who: Identity) -> bool:
    """Community images of others are listed only when asked for by that visibility; hidden ones by os_hidden."""
    if query.visibility in VISIBILITIES and image.visibility != query.visibility:
        return False
    if not any(name == "os_hidden" for name, _ in query.filters) and image.hidden:
        return False
    if owns(image, who) or image.visibility == "public":
        return True
    if image.visibility == "community":
        return query.visibility in ("community", "all")
    member = image.members.get(who.project)
    return image.visibility == "shared" and member is not None and query.member_status in ("all", member.status)


def _matches(image: Image, query: Query) -> bool:
    if not set(query.tags) <= set(image.tags):
        return False
    view = image_view(image) if query.filters else {}
    return all(_fits(view, name, value) for name, value in query.filters)


def _fits(view: dict[str, Any], name: str, asked: str) -> bool:
    if name in SIZES:
        size = view["size"] or 0
        return size >= int(asked) if name == "size_min" else size <= int(asked)
    value = view.get(name)
    if name in MOMENTS:
        compare, moment = _moment(name, asked)
        return compare(_instant(name, str(value)), moment)
    if isinstance(value, bool):
        return value == (asked.lower() == "true")
    if name in LISTED and asked.startswith("in:"):
        return str(value) in _listed_values(asked)
    if name in LISTED and asked.startswith("eq:"):
        asked = asked[3:]
    return value is not None and str(value) == asked.removeprefix('"').removesuffix('"')


def _require_sense(name: str, asked: str) -> None:
    """Raises BadRequest for a filter that no image could be compared with."""
    if name == "changes-since":
        raise BadRequest('The "changes-since" filter is no longer available on v2.')
    if name in SIZES and (not asked.isdecimal() or len(asked) > LONGEST_NUMBER):
        raise BadRequest(f"Invalid value for option {name}: {asked[:40]}")
    if name == "protected" and asked not in ("true", "false"):
        raise BadRequest(
            f"Invalid value '{asked[:40]}' for 'protected' filter. Valid values are case sensitive 'true' or 'false'."
        )
    if name == "os_hidden" and asked.lower() not in ("true", "false"):
        raise BadRequest(f"Invalid value '{asked[:40]}' for 'os_hidden' filter. Valid values are 'true' or 'false'.")
    if name in MOMENTS:
        _moment(name, asked)
    named, _, rest = asked.partition(":")
    if name in LISTED and rest and named in OPERATORS and named != "eq":
        raise BadRequest(f"Unable to filter by unknown operator '{named}'.")


def _listed_values(asked: str) -> list[str]:
    """Of `in:a,b,"c,d"`."""
    return [quoted or bare for quoted, bare in re.findall(r'"([^"]*)"|([^,"]+)', asked[3:])]


def _moment(name: str, asked: str) -> tuple[Callable[[datetime, datetime], bool], datetime]:
    """How to compare with what. Without an operator it is equality."""
    named, _, rest = asked.partition(":")
    if named in OPERATORS:
        return OPERATORS[named], _instant(name, rest)
    if named.isalpha():
        raise BadRequest(f"Unable to filter by unknown operator '{named}'.")
    return OPERATORS["eq"], _instant(name, asked)


def _instant(name: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadRequest(f"Invalid time value for '{name}': {text}. It must be ISO 8601.") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _sort(items: list[tuple[str, str]]) -> tuple[tuple[str, bool], ...]:
    pairs: list[tuple[str, str]] = []
    names = {name for name, _ in items}
    if "sort" in names and names & {"sort_key", "sort_dir"}:
        raise BadRequest("Old and new sorting syntax cannot be combined")
    directions = [value for name, value in items if name == "sort_dir"]
    for name, value in items:
        if name == "sort":
            pairs += [(part.partition(":")[0], part.partition(":")[2] or "desc") for part in value.split(",")]
        elif name == "sort_key":
            number = len(pairs)
            direction = directions[number] if number < len(directions) else (directions or ["desc"])[-1]
            pairs.append((value, direction))
    if len(pairs) > MOST_SORTS:
        raise BadRequest(f"More than {MOST_SORTS} sort keys.")
    if len(directions) > max(1, len(pairs)):
        raise BadRequest("Number of sort dirs does not match the number of sort keys")
    if not pairs:
        pairs = [("created_at", (directions or ["desc"])[0])]
    for key, direction in pairs:
        if key not in SORT_KEYS:
            raise BadRequest(f"Invalid sort key: {key}. It must be one of the following: {', '.join(SORT_KEYS)}.")
        if direction not in ("asc", "desc"):
            raise BadRequest(f"Invalid sort direction: {direction}")
    return tuple((key, direction == "desc") for key, direction in pairs)


def _order(field: str, image: Image) -> tuple[bool, Any]:
    """What has no value stands before what has."""
    value = getattr(image, field)
    return (value is not None, value if value is not None else "")


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not text.isdecimal():
        raise BadRequest(
            "limit param must be an integer" if not text.startswith("-") else "limit param must be positive"
        )
    return MAX_LIMIT if len(text) > LONGEST_NUMBER else min(int(text), MAX_LIMIT)
