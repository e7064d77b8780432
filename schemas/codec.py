"""Records and messages as versioned JSON: `{"record": "Instance/1", ...}`.

A class is registered with `@record(version)`. Fields at their default are left out, unknown fields are ignored, so a
reader accepts what a slightly newer writer adds.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import orjson
from cattrs.preconf.orjson import make_converter

from schemas.errors import UnreadableRecord

T = TypeVar("T")

_converter: Final = make_converter(omit_if_default=True)
_names: Final[dict[type, str]] = {}


def record(version: int) -> Callable[[type[T]], type[T]]:
    """Class decorator, outside of `@frozen`: names the class `ClassName/version` on the wire."""

    def register(cls: type[T]) -> type[T]:
        _names[cls] = f"{cls.__name__}/{version}"
        return cls

    return register


def to_dict(value: object) -> dict[str, Any]:
    data: dict[str, Any] = _converter.unstructure(value)
    name = _names.get(type(value))
    return {"record": name, **data} if name else data


def from_dict(cls: type[T], data: dict[str, Any]) -> T:
    return _converter.structure(data, cls)


def dumps(value: object) -> bytes:
    return orjson.dumps(to_dict(value))


def loads(cls: type[T], data: bytes) -> T:
    """Raises UnreadableRecord when the bytes are not a `cls` of a version known here."""
    try:
        found = orjson.loads(data)
        expected = _names.get(cls)
        if expected and found.get("record", expected) != expected:
            raise UnreadableRecord(f"expected {expected}, found {found['record']}")
        return _converter.structure(found, cls)
    except UnreadableRecord:
        raise
    except Exception as error:
        raise UnreadableRecord(f"not a {cls.__name__}: {error!r} in {data[:200]!r}") from error
