"""From a path to the operations there: exact segments before parameters, by the number of segments."""

from collections import defaultdict
from collections.abc import Iterable

from attrs import define, field

from control.placement.api.operation import Operation


@define(eq=False)
class Place:
    """One path, and by method what it answers in one version or another."""

    segments: tuple[str, ...]
    """a parameter is its name in braces"""
    methods: dict[str, list[Operation]] = field(factory=dict)

    def match(self, parts: list[str]) -> dict[str, str] | None:
        params = {}
        for segment, part in zip(self.segments, parts, strict=True):
            if segment[0] == "{":
                params[segment[1:-1]] = part
            elif segment != part:
                return None
        return params


class Routes:
    def __init__(self, operations: Iterable[Operation]) -> None:
        places: dict[str, Place] = {}
        for operation in operations:
            segments = tuple(part for part in operation.path.split("/") if part)
            place = places.setdefault(operation.path, Place(segments))
            place.methods.setdefault(operation.method, []).append(operation)
        self._by_length: dict[int, list[Place]] = defaultdict(list)
        for place in places.values():
            self._by_length[len(place.segments)].append(place)

    def find(self, path: str) -> tuple[Place, dict[str, str]] | None:
        """`path` begins with a slash, or is empty."""
        parts = path[1:].split("/") if len(path) > 1 else []
        if not all(parts):
            return None
        for place in self._by_length.get(len(parts), ()):
            params = place.match(parts)
            if params is not None:
                return place, params
        return None
