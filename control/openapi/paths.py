"""Pieces of a document that follow from methods, paths and codes alone."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

Json = dict[str, Any]

_PARAMETER: Final = re.compile(r"\{([^}]*)\}")


def names_in(path: str) -> list[str]:
    """Its parameters."""
    return _PARAMETER.findall(path)


def path_parameters(path: str) -> list[Json]:
    return [{"name": name, "in": "path", "required": True, "schema": _NON_EMPTY} for name in names_in(path)]


_NON_EMPTY: Final = {"type": "string", "minLength": 1, "pattern": r"^[^/\x00-\x1f\x7f]+$"}
"""One segment of a path"""


def reference(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def answer(description: str, schema: Json | None, headers: Json | None = None) -> Json:
    """A response with a JSON body of this schema; None: without a body."""
    told: Json = {"description": description}
    if headers:
        told["headers"] = headers
    if schema is not None:
        told["content"] = {"application/json": {"schema": schema}}
    return told


def add_links(operations: Mapping[str, tuple[str, Json]], makers: Iterable[tuple[str, str]]) -> None:
    """Tells where one can go from an answer: `makers` are operations and where in their answer's body the id of what
    they speak of is; it is the last parameter of what begins with their path. `operations`: path and description by
    operationId."""
    for maker, pointer in makers:
        if maker not in operations:
            continue
        path, described = operations[maker]
        kept = names_in(path)
        further = re.compile(re.escape(path) + r"/\{([^}]*)\}(/[^{]*)?$")
        links = {}
        for name, (place, _) in operations.items():
            found = further.match(place)
            if found:
                given = {n: f"$request.path.{n}" for n in kept}
                links[name] = {"operationId": name, "parameters": {**given, found[1]: f"$response.body#{pointer}"}}
        for code, response in described["responses"].items():
            if code.startswith("2") and links:
                response["links"] = links
