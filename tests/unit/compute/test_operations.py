"""The table of operations against Nova's, kept beside this file: paths, versions, success codes, policy."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from control.compute.microversions import MAX
from control.compute.operation import Operation
from control.compute.operations import OPERATIONS
from control.compute.policy import FURTHER
from control.compute.tables import own

NOVA: list[dict[str, Any]] = json.loads((Path(__file__).parent / "nova_operations.json").read_text())
ROLES = {"any user": "any", "owner user": "owner"}


QUERY_DIFFERS: dict[str, set[str]] = {
    "limits.show": {"reserved"},
    "flavors.list": {"name"},
    "flavors.detail": {"name"},
}
"""`reserved`: the standard client sends it and Nova's newer versions refuse that; `name` comes with 2.102."""


def identity(method: str, path: str, action: str | None) -> tuple[str, str, str | None]:
    return method, re.sub(r"\{[^}]*\}", "{}", path), action


BY_IDENTITY = {identity(o["method"], o["path"], o.get("action")): o for o in NOVA}


def minor(version: str) -> int:
    return int(version.split(".")[1])


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o not in own.OPERATIONS], ids=lambda o: o.name)
class TestOperation:
    def nova(self, operation: Operation) -> dict[str, Any]:
        return BY_IDENTITY[identity(operation.method, operation.path, operation.action)]

    def test_exists_in_the_same_versions(self, operation: Operation) -> None:
        nova = self.nova(operation)
        assert operation.since == minor(nova["since"])
        removed = nova.get("removed")
        assert operation.until == (minor(removed) - 1 if removed else None)

    def test_succeeds_with_the_same_codes(self, operation: Operation) -> None:
        codes = [int(text[:3]) for text in self.nova(operation)["success"]]
        if isinstance(operation.success, int):
            assert operation.success == codes[0]
        else:
            assert list(operation.success.values()) == codes

    def test_takes_the_same_query(self, operation: Operation) -> None:
        newest = operation.until or MAX
        known = set(operation.query.schema(newest)["properties"]) if operation.query else set()
        assert known ^ set(self.nova(operation).get("query", ())) == QUERY_DIFFERS.get(operation.name, set())

    def test_checks_the_same_rule_with_the_same_default(self, operation: Operation) -> None:
        policies = self.nova(operation)["policies"]
        if operation.rule is None:
            assert set(policies) <= FURTHER.keys()
            return
        role = policies[operation.rule]
        assert operation.role == ROLES.get(role, role)


def test_names_are_unique() -> None:
    names = [o.name for o in OPERATIONS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.body or o.query], ids=lambda o: o.name)
def test_schemas_compile_for_every_version(operation: Operation) -> None:
    for version in range(operation.since, (operation.until or MAX) + 1):
        for schemas in filter(None, (operation.body, operation.query)):
            schemas.validator(min(version, MAX))
