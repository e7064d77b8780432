"""Lists: pages hold each entry once, filters compare as Keystone's do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.identity.lists import is_true, matching, paged
from schemas.errors import BadRequest

URL = "http://api/v3/users"
NAMES = [{"id": str(n), "name": name, "enabled": n % 2 == 0} for n, name in enumerate(("Ann", "ben", "Anna", "Ödön"))]


@given(st.integers(0, 20), st.integers(1, 7))
def test_pages_hold_each_entry_once(count: int, limit: int) -> None:
    views, seen = [{"id": str(number)} for number in range(count)], list[str]()
    query, more = {"limit": str(limit)}, True
    while more:
        body = paged("users", views, query, URL)
        assert len(body["users"]) <= limit
        seen += [view["id"] for view in body["users"]]
        more = body["links"]["next"] is not None
        query = {"limit": str(limit), "marker": seen[-1]} if seen else query
        assert not more or body["links"]["next"] == f"{URL}?limit={limit}&marker={seen[-1]}"
    assert seen == [view["id"] for view in views]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, "0123"),
        ({"name": "Ann"}, "0"),
        ({"name__startswith": "Ann"}, "02"),
        ({"name__istartswith": "B"}, "1"),
        ({"name__contains": "nn"}, "02"),
        ({"name__icontains": "ÖN"}, "3"),
        ({"name__endswith": "na"}, "2"),
        ({"name__iendswith": "EN"}, "1"),
        ({"enabled": "false"}, "13"),
        ({"enabled": "1", "name__contains": "n"}, "02"),
        ({"id": "0"}, "0123"),
        ({"name__like": "x"}, "0123"),
    ],
)
def test_filters(query: dict[str, str], found: str) -> None:
    assert "".join(str(view["id"]) for view in matching(NAMES, query, ("name", "enabled"))) == found


@pytest.mark.parametrize("query", [{"limit": "x"}, {"limit": "-1"}, {"marker": "nobody"}])
def test_pages_that_make_no_sense(query: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        paged("users", NAMES, query, URL)


@pytest.mark.parametrize(("value", "meant"), [("", True), ("1", True), ("True", True), ("0", False), ("false", False)])
def test_flags(value: str, meant: bool) -> None:
    assert is_true({"effective": value}, "effective") is meant
    assert not is_true({}, "effective")
