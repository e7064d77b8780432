"""What is fuzzed: every operation of a document on its own, every action of a path too."""

import copy
from collections.abc import Callable
from typing import Any, Final

import schemathesis
from attrs import frozen
from schemathesis.schemas import APIOperation

Json = dict[str, Any]

ALLOWED: Final = {
    "admin": {"admin", "service", "manager", "member", "reader", "any", "owner"},
    "member": {"member", "reader", "any", "owner"},
    "reader": {"reader", "any", "owner"},
}
"""By role, the policy defaults that let it in"""


@frozen
class Target:
    name: str
    method: str
    path: str
    default: str
    """the role that policy asks for"""
    succeeds: bool
    """whether the document knows a success"""
    operation: APIOperation
    example: Any
    """a body that the document promises to take; None without a body"""

    def allowed(self, role: str) -> bool:
        """Whether it may, of what the site does at all."""
        return self.succeeds and self.default in ALLOWED[role]


def targets(document: Json, role_of: Callable[[str], str] = lambda _: "any") -> list[Target]:
    """`role_of` tells the role that policy asks of an operation for, where the document does not."""
    found: list[Target] = []
    for path, entry in document["paths"].items():
        for method, described in entry.items():
            if method == "parameters":
                continue
            actions = described.get("x-actions", (None,))
            found += [_target(document, path, method, described, action, role_of) for action in actions]
    return found


def _target(
    document: Json, path: str, method: str, described: Json, action: Json | None, role_of: Callable[[str], str]
) -> Target:
    """Of a document that has nothing else."""
    one = copy.deepcopy(described)
    for response in one["responses"].values():
        response.pop("links", None)
    name = one["operationId"]
    default = one.get("x-policy", {}).get("default") or role_of(name)
    (content,) = one.get("requestBody", {"content": {"": {}}})["content"].values()
    examples = content.pop("examples", {})
    if action:
        name, default = action["name"], action["policy"]["default"]
        content["schema"] = _alternative(content["schema"], action["action"])
        done = str(action["success"])
        one["responses"] = {c: r for c, r in one["responses"].items() if not c.startswith("2") or c == done}
    entry = {"parameters": document["paths"][path].get("parameters", []), method: one}
    schema = schemathesis.openapi.from_dict({**document, "paths": {path: entry}})
    example = examples.get(name, {}).get("value")
    succeeds = any(code.startswith("2") for code in one["responses"])
    return Target(name, method.upper(), path, default, succeeds, schema[path][method.upper()], example)


def _alternative(schema: Json, action: str) -> Json:
    (found,) = [one for one in schema["oneOf"] if action in one["properties"]]
    return found
