"""From method and path to the operations there: a tree of path segments, literals before parameters."""

from collections.abc import Iterable

from attrs import define, field

from control.compute.operation import Operation


@define(eq=False)
class _Node:
    literal: dict[str, "_Node"] = field(factory=dict)
    parameter: "_Node | None" = None
    name: str = ""
    operations: dict[str, list[Operation]] = field(factory=dict)
    """by method"""


class Router:
    def __init__(self, operations: Iterable[Operation]) -> None:
        self._root = _Node()
        for operation in operations:
            self._add(operation)

    def _add(self, operation: Operation) -> None:
        node = self._root
        for part in _parts(operation.path):
            if part.startswith("{"):
                if node.parameter is None:
                    node.parameter = _Node(name=part[1:-1])
                elif node.parameter.name != part[1:-1]:
                    raise ValueError(f"{operation.path}: {part} is called {node.parameter.name} elsewhere")
                node = node.parameter
            else:
                node = node.literal.setdefault(part, _Node())
        node.operations.setdefault(operation.method, []).append(operation)

    def project_of(self, parts: list[str]) -> str | None:
        """The project that a URL may name before its collection."""
        collections = self._root.literal
        named = len(parts) > 1 and parts[0] not in collections and parts[1] in collections
        return parts[0] if named else None

    def find(self, method: str, parts: list[str]) -> tuple[list[Operation], dict[str, str]]:
        """The operations of that method and path, several where versions or actions tell them apart, and the
        path's parameters."""
        node, params = self._root, {}
        for part in parts:
            found = node.literal.get(part)
            if found is None:
                found = node.parameter
                if found is None:
                    return [], {}
                params[found.name] = part
            node = found
        return node.operations.get(method, []), params


def _parts(path: str) -> list[str]:
    return [p for p in path.split("/") if p]
