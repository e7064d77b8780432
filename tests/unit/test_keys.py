"""The tables of keys: no two families overlap, parts cannot escape, order is time's order."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kv.keys import Cell, Family, Global
from schemas.server import from_us, time_key, to_us

TABLES = {"global": Global, "cell": Cell}
FAMILIES = [
    pytest.param(family, id=f"{table}-{name}")
    for table, cls in TABLES.items()
    for name, family in vars(cls).items()
    if isinstance(family, Family)
]
parts = st.text(min_size=1, max_size=12)
moments = st.datetimes(datetime(1970, 1, 2), datetime(2286, 1, 1), timezones=st.just(UTC))


@pytest.mark.parametrize("table", TABLES)
def test_no_family_lies_under_another(table: str) -> None:
    families = [f for f in vars(TABLES[table]).values() if isinstance(f, Family)]
    heads = [f.template.split("{")[0] for f in families]
    for one in heads:
        assert one.endswith("/")
        assert [other for other in heads if other.startswith(one)] == [one]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_key_lies_in_every_span_above_it(family: Family[object]) -> None:
    count = family.template.count("{")
    names = [f"p{n}" for n in range(count)]
    key = family(*names)
    assert key.cls is family.cls
    for depth in range(count):
        span = family.under(*names[:depth])
        assert span.start <= key.path < span.end
    with pytest.raises(TypeError):
        family(*names, "more")
    if count:
        with pytest.raises(TypeError):
            family(*names[:-1])


@given(st.lists(parts, min_size=2, max_size=2), st.lists(parts, min_size=2, max_size=2))
def test_no_part_escapes_its_place(one: list[str], other: list[str]) -> None:
    family = Family("things/{a}/{b}", str)
    first, second = family(*one).path, family(*other).path
    assert first.count("/") == 2
    assert (first == second) == (one == other)
    span = family.under(other[0])
    assert (span.start <= first < span.end) == (one[0] == other[0])


def test_a_shard_is_not_the_prefix_of_another() -> None:
    span = Cell.OPERATIONS.under(1)
    assert not span.start <= Cell.OPERATIONS(10, "x").path < span.end
    assert not span.start <= Cell.OPERATIONS(2, "x").path < span.end


@given(moments, moments)
def test_time_keys_sort_as_time_does(one: datetime, other: datetime) -> None:
    first, second = time_key(to_us(one), "x"), time_key(to_us(other), "x")
    assert (first < second) == (one < other)
    assert len(first) == len(second)


@given(moments)
def test_microseconds_are_exact(moment: datetime) -> None:
    assert from_us(to_us(moment)) == moment


def test_a_span_between_two_times() -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    keys = [Cell.INSTANCES("p1", time_key(to_us(now + timedelta(seconds=n)), "x")).path for n in range(4)]
    start, end = (time_key(to_us(now + timedelta(seconds=n)), "") for n in (1, 3))
    span = Cell.INSTANCES.between("p1", start=start, end=end)
    assert [k for k in keys if span.start <= k < span.end] == keys[1:3]
