"""The table of operations against Nova's, kept beside this file: paths, versions, success codes, policy."""

import re
from typing import Any

import pytest
from nova_facts import NOVA, identity, nova, shape, versions_to_try

from control.compute.microversions import MAX
from control.compute.operation import Operation
from control.compute.operations import OPERATIONS
from control.compute.policy import FURTHER
from control.compute.tables import absent, gone, own

ROLES = {"any user": "any", "owner user": "owner"}


QUERY_DIFFERS = {"limits.show": {"reserved"}}
"""The standard client sends it and Nova's newer versions refuse that."""
NEVER = 1000


FREE_KEYS = {"server-diagnostics.show"}
"""Before 2.48 they are the driver's own."""


def versions(operation: Operation) -> range:
    return range(operation.since, (operation.until or MAX) + 1)


def covers(text: str, version: int) -> bool:
    """Whether `200 (<= 2.1)` and the like are said of a version; what says no version is said of all."""
    match = re.search(r"\(([<>])= 2\.(\d+)", text)
    if match is None:
        return True
    return version <= int(match[2]) if match[1] == "<" else version >= int(match[2])


def properties(schema: dict[str, Any], path: str) -> set[str]:
    inner = schema["properties"].get(path, {}) if path else schema
    return set(inner.get("items", inner).get("properties", ()))


def minor(version: str) -> int:
    return int(version.split(".")[1])


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o not in own.OPERATIONS], ids=lambda o: o.name)
class TestOperation:
    def test_exists_in_the_same_versions(self, operation: Operation) -> None:
        facts = nova(operation)
        assert operation.since == minor(facts["since"])
        removed = facts.get("removed")
        assert operation.until == (minor(removed) - 1 if removed else None)

    def test_succeeds_with_the_same_codes(self, operation: Operation) -> None:
        told = nova(operation)["success"]
        for version in versions(operation):
            codes = {int(text[:3]) for text in told if covers(text, version)}
            assert operation.code(version) in codes

    def test_takes_the_same_body(self, operation: Operation) -> None:
        taken = shape(nova(operation).get("request", {}))
        assert (operation.body is None) == (not taken.names)
        if operation.body is None:
            return
        for version in versions_to_try(operation, taken.steps()):
            schema, expected = operation.body.schema(version), taken.at(version)
            inner = {path: properties(schema, path) for path in taken.names}
            assert {path: names for path, names in inner.items() if names} == expected, f"2.{version}"
            outermost = expected.get("", set(taken.names) - {""})
            assert properties(schema, "") == outermost

    def test_answers_under_the_same_key(self, operation: Operation) -> None:
        """What is below it is compared with real answers, in the functional tests."""
        answered = shape(nova(operation).get("response", {}))
        newest = operation.until or MAX
        named = answered.at(min(newest, MAX)).get("", set())
        assert set(operation.reply) == named or operation.name in FREE_KEYS

    def test_takes_the_same_query(self, operation: Operation) -> None:
        facts = nova(operation)
        taken, strict = shape({"": facts.get("query", "")}), facts.get("strict_query", NEVER)
        for version in versions_to_try(operation, taken.steps() | {strict}):
            schema = operation.query.schema(version) if operation.query else {"additionalProperties": True}
            differs = properties(schema, "") ^ taken.at(version).get("", set())
            assert differs == QUERY_DIFFERS.get(operation.name, set()), f"2.{version}"
            assert schema["additionalProperties"] == (version < strict), f"2.{version}"

    def test_checks_the_same_rule_with_the_same_default(self, operation: Operation) -> None:
        policies = nova(operation)["policies"]
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
    for version in versions(operation):
        for schemas in filter(None, (operation.body, operation.query)):
            schemas.validator(min(version, MAX))


def test_what_is_gone_in_nova_is_gone_here() -> None:
    facts = {
        identity(o["method"], o["path"], o.get("action")): minor(o["removed"]) - 1 if "removed" in o else None
        for o in NOVA
        if o.get("gone")
    }
    assert {identity(o.method, o.path, o.action): o.until for o in gone.OPERATIONS} == facts


def test_every_action_of_nova_has_an_answer_of_its_own() -> None:
    """An action that Nova knows and this release does not was refused as one that does not exist."""
    path = "/servers/{}/action"
    facts = {o["action"] for o in NOVA if identity(o["method"], o["path"], None)[1] == path}
    known = {o.action for o in (*OPERATIONS, *gone.OPERATIONS, *absent.OPERATIONS) if o.path.endswith("}/action")}
    assert facts <= known


@pytest.mark.parametrize("operation", absent.OPERATIONS, ids=lambda o: o.name)
def test_what_is_absent_is_what_nova_has(operation: Operation) -> None:
    facts = nova(operation)
    assert operation.since == minor(facts["since"])
    assert operation.until == (minor(facts["removed"]) - 1 if "removed" in facts else None)
    assert facts["policies"][operation.rule] == operation.role
    taken = {identity(o.method, o.path, o.action) for o in OPERATIONS}
    assert identity(operation.method, operation.path, operation.action) not in taken
