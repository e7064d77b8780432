"""What Nova's compute API is: tests/unit/compute/nova_operations.json, facts only, an operation a line.

`request` and `response` name the keys of bodies: from where they are (`server.image`, lists looked through, `*` for any
key, "" for the outermost) to names with the versions that have them: `name`, `name@26`, `name@-46`, `name@3-89`. One
that ends in `!` is for administrators.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from control.compute.microversions import MAX
from control.compute.operation import Operation

_FORM: Final = re.compile(r"(?P<name>[^@!]+)(@(?P<since>\d+)?(-(?P<until>\d+))?)?(?P<admin>!)?")


@frozen
class Name:
    name: str
    since: int
    until: int
    admin: bool

    def there(self, version: int, *, admin: bool) -> bool:
        return self.since <= version <= self.until and (admin or not self.admin)


def parse(text: str) -> tuple[Name, ...]:
    names = []
    for word in text.split():
        match = _FORM.fullmatch(word)
        assert match, word
        names.append(Name(match["name"], int(match["since"] or 1), int(match["until"] or 999), bool(match["admin"])))
    return tuple(names)


@frozen
class Shape:
    """The keys of a body by version."""

    names: Mapping[str, tuple[Name, ...]]

    def at(self, version: int, *, admin: bool = True) -> dict[str, set[str]]:
        """What is not there at all in a version is left out."""
        found = {path: {n.name for n in names if n.there(version, admin=admin)} for path, names in self.names.items()}
        return {path: names for path, names in found.items() if names}

    def steps(self) -> set[int]:
        """Versions at which something begins or has just ended."""
        every = [n for names in self.names.values() for n in names]
        return {n.since for n in every} | {n.until + 1 for n in every}


def shape(facts: Mapping[str, str]) -> Shape:
    return Shape({path: parse(text) for path, text in facts.items()})


def keys_at(body: Any, path: str) -> set[str]:
    """The keys of the objects at a path of a Shape."""
    found = [body]
    for step in path.split(".") if path else ():
        found = [inner for one in _objects(found) for key, inner in one.items() if step in ("*", key)]
    return {key for one in _objects(found) for key in one}


def _objects(found: Iterable[Any]) -> list[dict[str, Any]]:
    flat: list[Any] = []
    for one in found:
        flat += one if isinstance(one, list) else [one]
    return [one for one in flat if isinstance(one, dict)]


def versions_to_try(operation: Operation, steps: Iterable[int]) -> list[int]:
    """The first and the last that have the operation, and each step with the version before it."""
    last = min(operation.until or MAX, MAX)
    tried = {operation.since, last} | {v for step in steps for v in (step - 1, step)}
    return sorted(v for v in tried if operation.since <= v <= last)


def identity(method: str, path: str, action: str | None) -> tuple[str, str, str | None]:
    return method, re.sub(r"\{[^}]*\}", "{}", path), action


NOVA: Final[list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "unit" / "compute" / "nova_operations.json").read_text()
)
_BY_IDENTITY: Final = {identity(o["method"], o["path"], o.get("action")): o for o in NOVA}


def nova(operation: Operation) -> dict[str, Any]:
    """Nova's facts of an operation of ours."""
    return _BY_IDENTITY[identity(operation.method, operation.path, operation.action)]
