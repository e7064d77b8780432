"""Records and messages as versioned JSON: `{"record": "Instance/1", ...}`.

A class is registered with `@record(version)`. Fields at their default are left out, unknown fields are ignored.

Another version of a record is declared beside it, with what turns the JSON of the version before into this one's and
back, and the release that brought it:

    @record(2, since=5, up=_with_node, down=_without_node)

A reader takes this version and the one before. A writer writes for the lowest release among those that read:
`for_release` converts what it has encoded, and costs a comparison of two numbers when all run the same release.
"""

from collections.abc import Callable
from types import NoneType
from typing import Any, Final, TypeVar, get_args, get_origin

import orjson
from attrs import frozen
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn
from cattrs.preconf.orjson import make_converter

from schemas.errors import UnreadableRecord, UnwritableRecord

T = TypeVar("T")

Json = dict[str, Any]
Convert = Callable[[Json], Json]
"""JSON of one version, without `record`, to that of its neighbour; may change what it is given"""

RELEASE: Final = 1
"""Of all records and messages together: raised, once a release, when any of them gets another version."""


@frozen
class _Version:
    name: str
    """as it heads the JSON: `Instance/2`"""
    before: str = ""
    since: int = 1
    up: Convert | None = None
    down: Convert | None = None


_converter: Final = make_converter(omit_if_default=True, detailed_validation=False)
_PLAIN: Final = frozenset({str, int, float, bool})
_versions: Final[dict[type, _Version]] = {}
_convertible: Final[dict[str, _Version]] = {}
"""by the name of each record that has a version before"""


def record(
    version: int, since: int = 1, up: Convert | None = None, down: Convert | None = None
) -> Callable[[type[T]], type[T]]:
    """Class decorator, outside of `@frozen`: names the class `ClassName/version` on the wire. From version 2 on with
    the release that brought this version, and what converts one version up and down."""
    if (version > 1) != (up is not None and down is not None):
        raise TypeError("a version after the first says how it follows from the one before and how it goes back")

    def register(cls: type[T]) -> type[T]:
        before = f"{cls.__name__}/{version - 1}" if version > 1 else ""
        known = _Version(f"{cls.__name__}/{version}", before, since, up, down)
        _versions[cls] = known
        if before:
            _convertible[known.name] = known
        return cls

    return register


def _writing(cls: type) -> Callable[[Any], Json]:
    name = _versions[cls].name
    plain: Callable[[Any], Json] = make_dict_unstructure_fn(cls, _converter, _cattrs_omit_if_default=True)
    return lambda value: {"record": name, **plain(value)}


def _reading(cls: type) -> Callable[[Any, Any], Any]:
    version = _versions[cls]
    name = version.name
    plain: Callable[[Json, Any], Any] = make_dict_structure_fn(cls, _converter)

    def read(found: Json, _: Any) -> Any:
        if found.get("record", name) != name:
            found = _raised(version, found)
        return plain(found, cls)

    return read


def _raised(version: _Version, found: Json) -> Json:
    """Raises UnreadableRecord when it is not of the version before."""
    if version.up is None or found["record"] != version.before:
        expected = " or ".join(filter(None, (version.name, version.before)))
        raise UnreadableRecord(f"expected {expected}, found {found['record']}")
    return version.up({key: value for key, value in found.items() if key != "record"})


def _is_optional(kind: Any) -> bool:
    inner = get_args(kind)
    return len(inner) == 2 and inner[1] is NoneType and get_origin(kind) is not tuple


def _reading_optional(kind: Any) -> Callable[[Any, Any], Any]:
    """What cattrs does too, but for looking at the type again with each value: records are full of these."""
    present = get_args(kind)[0]
    if present in _PLAIN:
        return lambda found, _: None if found is None else present(found)
    read = _converter.get_structure_hook(present)
    return lambda found, _: None if found is None else read(found, present)


def _is_sequence(kind: Any) -> bool:
    return get_origin(kind) is tuple and get_args(kind)[1:] == (...,)


def _reading_sequence(kind: Any) -> Callable[[Any, Any], Any]:
    each = get_args(kind)[0]
    if each in _PLAIN:
        return lambda found, _: tuple(map(each, found))
    read = _converter.get_structure_hook(each)
    return lambda found, _: tuple([read(one, each) for one in found])


_converter.register_structure_hook_factory(_is_optional, _reading_optional)
_converter.register_structure_hook_factory(_is_sequence, _reading_sequence)
_converter.register_unstructure_hook_factory(lambda cls: cls in _versions, _writing)
_converter.register_structure_hook_factory(lambda cls: cls in _versions, _reading)


def to_dict(value: object) -> Json:
    data: Json = _converter.unstructure(value)
    return data


def from_dict(cls: type[T], data: Json) -> T:
    return _converter.structure(data, cls)


def dumps(value: object) -> bytes:
    """Raises UnwritableRecord for what has no JSON or is nested too deeply."""
    try:
        return orjson.dumps(_converter.unstructure(value))
    except (TypeError, RecursionError) as error:
        raise UnwritableRecord(f"a {type(value).__name__} cannot be encoded: {error}") from error


def loads(cls: type[T], data: bytes) -> T:
    """Raises UnreadableRecord when the bytes are not a `cls` of this version or the one before."""
    try:
        return _converter.structure(orjson.loads(data), cls)
    except UnreadableRecord:
        raise
    except Exception as error:
        raise UnreadableRecord(f"not a {cls.__name__}: {error!r} in {data[:200]!r}") from error


def for_release(data: bytes, release: int) -> bytes:
    """What `dumps` gave, as a process of this release reads it."""
    return data if release >= RELEASE or not _convertible else orjson.dumps(_lowered(orjson.loads(data), release))


def _lowered(value: Any, release: int) -> Any:
    """With every record in it that is younger than the release one version down."""
    if isinstance(value, list):
        return [_lowered(one, release) for one in value]
    if not isinstance(value, dict):
        return value
    lowered = {key: _lowered(one, release) for key, one in value.items()}
    version = _convertible.get(str(lowered.get("record")))
    if version is None or version.down is None or version.since <= release:
        return lowered
    del lowered["record"]
    return {"record": version.before, **version.down(lowered)}
