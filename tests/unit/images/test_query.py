"""Lists of images: pages are complete and without repetition, whatever is sorted by."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.images.query import SORT_KEYS, page, parse_query
from schemas.errors import BadRequest
from schemas.identity import Identity
from schemas.image import Image

ME = Identity("u", "u", "mine", "mine", frozenset({"member"}))
START = datetime(2026, 1, 1, tzinfo=UTC)


def image(number: int, name: str | None, size: int | None) -> Image:
    at = START + timedelta(seconds=number % 3)
    return Image(id=f"{number:04}", name=name, owner="mine", created=at, updated=at, size=size)


@given(
    st.lists(st.tuples(st.none() | st.text(max_size=2), st.none() | st.integers(0, 3)), max_size=12),
    st.sampled_from(sorted(SORT_KEYS)),
    st.sampled_from(["asc", "desc"]),
    st.integers(1, 5),
)
def test_pages_hold_each_image_once(
    rows: list[tuple[str | None, int | None]], key: str, direction: str, limit: int
) -> None:
    images = [image(number, *row) for number, row in enumerate(rows)]
    asked = [("limit", str(limit)), ("sort", f"{key}:{direction}")]
    seen: list[str] = []
    more = True
    while more:
        found, more = page(images, parse_query([*asked, *([("marker", seen[-1])] if seen else [])]), ME)
        seen += [found_image.id for found_image in found]
    whole, _ = page(images, parse_query([("limit", "1000"), *asked[1:]]), ME)
    assert seen == [found_image.id for found_image in whole]
    assert sorted(seen) == [found_image.id for found_image in images]


@pytest.mark.parametrize(
    "items",
    [[("limit", "-1")], [("limit", "x")], [("sort", "nothing:asc")], [("sort", "name:up")], [("visibility", "secret")],
     [("member_status", "x")]],
)  # fmt: skip
def test_questions_that_make_no_sense(items: list[tuple[str, str]]) -> None:
    with pytest.raises(BadRequest):
        parse_query(items)
