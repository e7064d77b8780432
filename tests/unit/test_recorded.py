"""Every version of every record and message that a site may still hold or hear is kept in `tests/recorded/`, one file
a version: its shape and one example as it was written then.

A record that changes is another version of it: raise `RELEASE` once a release, say how the two follow from each other
beside the record, and let this write the new file next to the old one:

    KILONOVA_RECORD=1 python -m pytest tests/unit/test_recorded.py

Until the first release a version may still change: the same command rewrites its file, and the diff is reviewed.
"""

import importlib
import os
import pkgutil
import types
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs
import orjson
import pytest

import schemas
from schemas.codec import _versions, dumps, for_release, from_dict, loads, record, to_dict
from schemas.errors import UnreadableRecord

for module in pkgutil.iter_modules(schemas.__path__):
    importlib.import_module(f"schemas.{module.name}")

RECORDS = sorted((c for c in _versions if c.__module__.startswith("schemas.")), key=lambda c: c.__name__)
DIRECTORY = Path(__file__).parents[1] / "recorded"
RECORDING = bool(os.environ.get("KILONOVA_RECORD"))


def file_of(version: str) -> Path:
    return DIRECTORY / f"{version.replace('/', '-')}.json"


def shape_of(kind: Any) -> Any:
    """A type as JSON; a record within a record by its name alone, since it carries its own version."""
    if attrs.has(kind):
        hints = get_type_hints(kind)
        return {f.name: _field(f, hints[f.name]) for f in attrs.fields(kind)}
    return getattr(kind, "__name__", None) if isinstance(kind, type) and not get_args(kind) else _generic(kind)


def _field(field: Any, kind: Any) -> Any:
    shape = _within(kind)
    if field.default is attrs.NOTHING:
        return shape
    default = field.default.factory() if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]
    return {"type": shape, "default": orjson.loads(orjson.dumps(to_dict(default)))}


def _within(kind: Any) -> Any:
    return kind.__name__ if kind in _versions else shape_of(kind)


def _generic(kind: Any) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return list(inner)
    if origin in (Union, types.UnionType):
        return {"one of": [_within(one) for one in inner]}
    if origin is None:
        return str(kind).rsplit(".", 1)[-1]
    return {origin.__name__: [_within(one) for one in inner if one is not Ellipsis]}


PLAIN: dict[Any, Any] = {
    int: 41,
    float: 4.5,
    bool: True,
    datetime: datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
    Any: "anything",
    type(None): None,
}


def example_of(kind: Any, name: str) -> Any:
    """A value with every field set to something else than its default."""
    if kind is str:
        return f"some {name}"
    if kind in PLAIN:
        return PLAIN[kind]
    if attrs.has(kind):
        hints = get_type_hints(kind)
        return kind(**{f.name: _other(f, example_of(hints[f.name], f.name)) for f in attrs.fields(kind)})
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return inner[-1]
    if origin in (Union, types.UnionType):
        return example_of(inner[0], name)
    if origin is dict:
        return {example_of(inner[0], "key"): example_of(inner[1], name)}
    if origin is tuple and Ellipsis not in inner:
        return tuple(example_of(one, name) for one in inner)
    if origin in (tuple, frozenset):
        return origin([example_of(inner[0], name)])
    raise AssertionError(f"no record may hold {kind}")


def _other(field: Any, value: Any) -> Any:
    return not value if isinstance(value, bool) and field.default == value else value


def recorded(cls: type) -> Any:
    """The file of the record's present version; written anew on demand."""
    path = file_of(_versions[cls].name)
    if RECORDING:
        path.parent.mkdir(exist_ok=True)
        now = {"shape": shape_of(cls), "example": orjson.loads(dumps(example_of(cls, cls.__name__)))}
        path.write_bytes(orjson.dumps(now, option=orjson.OPT_INDENT_2) + b"\n")
    assert path.exists(), f"{path.name} is not recorded: see the top of this file"
    return orjson.loads(path.read_bytes())


@pytest.mark.parametrize("cls", RECORDS, ids=lambda c: c.__name__)
def test_a_record_has_the_shape_of_its_version(cls: type) -> None:
    changed = "its shape is another: give it another version, or before a release record it anew (see the top)"
    assert recorded(cls)["shape"] == orjson.loads(orjson.dumps(shape_of(cls))), changed


@pytest.mark.parametrize("cls", RECORDS, ids=lambda c: c.__name__)
def test_what_was_recorded_is_read_and_written_the_same(cls: type) -> None:
    example = recorded(cls)["example"]
    assert set(example) == {"record", *(f.name for f in attrs.fields(cls))}
    assert to_json(from_dict(cls, example)) == example


@pytest.mark.parametrize("cls", RECORDS, ids=lambda c: c.__name__)
def test_the_version_before_is_read_and_can_be_written(cls: type) -> None:
    version = _versions[cls]
    if not version.before:
        return
    example = orjson.loads(file_of(version.before).read_bytes())["example"]
    value = from_dict(cls, example)
    lowered = orjson.loads(for_release(dumps(value), version.since - 1))
    assert lowered["record"] == version.before
    assert from_dict(cls, lowered) == value


def test_no_version_is_kept_that_nobody_reads() -> None:
    wanted = {file_of(name).name for cls in RECORDS for name in (_versions[cls].name, _versions[cls].before) if name}
    assert {path.name for path in DIRECTORY.iterdir()} == wanted


def to_json(value: object) -> Any:
    return orjson.loads(dumps(value))


# A record with two versions: release 2 brought `Room/2`, which keeps a size and a unit where there was one text.


def _room_up(room: dict[str, Any]) -> dict[str, Any]:
    number, unit = room.pop("size").split(" ")
    return {**room, "number": int(number), "unit": unit}


def _room_down(room: dict[str, Any]) -> dict[str, Any]:
    size = f"{room.pop('number')} {room.pop('unit', 'm2')}"
    return {**room, "size": size}


@record(2, since=2, up=_room_up, down=_room_down)
@attrs.frozen
class Room:
    name: str
    number: int
    unit: str = "m2"


@record(1)
@attrs.frozen
class House:
    rooms: tuple[Room, ...]
    kept: dict[str, Any] = attrs.field(factory=dict)


THEN = b'{"record":"Room/1","name":"hall","size":"12 ft2"}'
NOW = Room("hall", 12, "ft2")


@pytest.fixture
def release_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schemas.codec.RELEASE", 2)


def test_a_reader_takes_the_version_before() -> None:
    assert loads(Room, THEN) == NOW
    assert loads(Room, dumps(NOW)) == NOW
    for other in ("Room/3", "Room/0", "House/1"):
        with pytest.raises(UnreadableRecord, match=f"expected Room/2 or Room/1, found {other}"):
            loads(Room, dumps({"record": other, "name": "hall"}))


@pytest.mark.usefixtures("release_two")
def test_a_writer_writes_for_the_lowest_release() -> None:
    assert for_release(dumps(NOW), 1) == THEN
    assert for_release(dumps(NOW), 2) == dumps(NOW)
    assert for_release(b'"a pod"', 1) == b'"a pod"'


@pytest.mark.usefixtures("release_two")
def test_a_record_within_another_has_its_own_version() -> None:
    house = House((NOW, Room("loft", 3)), {"last": to_dict(NOW)})
    lowered = for_release(dumps(house), 1)
    assert orjson.loads(lowered) == {
        "record": "House/1",
        "rooms": [orjson.loads(THEN), {"record": "Room/1", "name": "loft", "size": "3 m2"}],
        "kept": {"last": orjson.loads(THEN)},
    }
    read = loads(House, lowered)
    assert read.rooms == house.rooms
    assert from_dict(Room, read.kept["last"]) == NOW


def test_a_version_without_a_way_back_is_no_version() -> None:
    with pytest.raises(TypeError, match="how it follows"):
        record(2)
    with pytest.raises(TypeError, match="how it follows"):
        record(1, up=_room_up, down=_room_down)
