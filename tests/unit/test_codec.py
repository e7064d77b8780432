"""Records and messages survive their wire form, every one of them, and what is not theirs is refused."""

import importlib
import pkgutil
import types
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import schemas
from schemas.codec import _versions, dumps, from_dict, loads, record, to_dict
from schemas.errors import UnreadableRecord

for module in pkgutil.iter_modules(schemas.__path__):
    importlib.import_module(f"schemas.{module.name}")

RECORDS = sorted((c for c in _versions if c.__module__.startswith("schemas.")), key=lambda c: c.__name__)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)

PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=8),
    int: st.integers(-(2**62), 2**62),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    type(None): st.none(),
    datetime: st.datetimes(timezones=st.just(UTC)),
    Any: json_values,
}


@cache
def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that a record may hold."""
    if kind in PLAIN:
        return PLAIN[kind]
    if attrs.has(kind):
        hints = get_type_hints(kind)
        return st.builds(kind, **{f.name: values_of(hints[f.name]) for f in attrs.fields(kind)})
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return st.sampled_from(inner)
    if origin in (Union, types.UnionType):
        return st.one_of(*(values_of(one) for one in inner))
    if origin is tuple and Ellipsis not in inner:
        return st.tuples(*(values_of(one) for one in inner))
    if origin is tuple:
        return st.lists(values_of(inner[0]), max_size=2).map(tuple)
    if origin is frozenset:
        return st.frozensets(values_of(inner[0]), max_size=2)
    if origin is dict:
        return st.dictionaries(values_of(inner[0]), values_of(inner[1]), max_size=2)
    raise AssertionError(f"no record may hold {kind}")


def test_all_records_are_found() -> None:
    assert {"Instance", "Operation", "Command", "HostMapping", "Allocation"} <= {c.__name__ for c in RECORDS}


@pytest.mark.parametrize("cls", RECORDS, ids=lambda c: c.__name__)
def test_what_was_written_is_read(cls: type) -> None:
    @settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
    @given(values_of(cls))
    def survives(value: object) -> None:
        assert loads(cls, dumps(value)) == value

    survives()


@pytest.mark.parametrize("cls", RECORDS, ids=lambda c: c.__name__)
def test_a_name_and_a_version_head_every_record(cls: type) -> None:
    name, version = _versions[cls].name.split("/")
    assert name == cls.__name__
    for other in ("Other/1", f"{name}/{int(version) + 1}"):
        with pytest.raises(UnreadableRecord, match=f"expected {name}/{version}, found {other}"):
            loads(cls, orjson.dumps({"record": other}))


@record(1)
@attrs.frozen
class Sample:
    text: str
    number: int = 3
    moment: datetime | None = None


def test_the_wire_form_is_small_and_readable() -> None:
    assert dumps(Sample("x")) == b'{"record":"Sample/1","text":"x"}'
    moment = datetime(2030, 1, 2, tzinfo=UTC)
    assert orjson.loads(dumps(Sample("x", 4, moment))) == {
        "record": "Sample/1",
        "text": "x",
        "number": 4,
        "moment": "2030-01-02T00:00:00+00:00",
    }
    assert from_dict(Sample, to_dict(Sample("x", 4))) == Sample("x", 4)


def test_what_a_newer_writer_adds_is_ignored() -> None:
    assert loads(Sample, b'{"record":"Sample/1","text":"x","later":{"a":1}}') == Sample("x")
    assert loads(Sample, b'{"text":"x"}') == Sample("x")


@pytest.mark.parametrize(
    "wrong", [b"", b"{", b"null", b"[]", b"1", b'"x"', b"{}", b'{"text":"x","number":"many"}', b"\xff"]
)
def test_anything_else_is_unreadable(wrong: bytes) -> None:
    with pytest.raises(UnreadableRecord, match="not a Sample"):
        loads(Sample, wrong)
