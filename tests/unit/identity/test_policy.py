"""Keystone's rules: every operation has one, every one is for something, and all of them can be parsed."""

import re

import pytest
from oslo_policy.policy import RuleDefault

from control.identity.operations import OPERATIONS
from control.identity.policy import DEFAULTS
from control.images import policy as images

RULES = {f"identity:{operation.rule}" for operation in OPERATIONS}
UNUSED = {"identity:get_registered_limit"}


def test_every_operation_has_a_rule_and_every_rule_an_operation() -> None:
    assert DEFAULTS.keys() >= RULES
    assert {name for name in DEFAULTS if name.startswith("identity:")} - RULES == UNUSED


@pytest.mark.parametrize("defaults", [DEFAULTS, images.DEFAULTS], ids=["identity", "images"])
def test_rules_can_be_parsed_and_name_rules_that_there_are(defaults: dict[str, str]) -> None:
    for name, check in defaults.items():
        assert str(RuleDefault(name, check).check) != "!", f"{name} cannot be parsed"
        assert set(re.findall(r"rule:(\w+)", check)) <= defaults.keys(), name


def test_no_path_is_hidden_by_an_earlier_one() -> None:
    """Routes are tried in their order: a literal must come before a placeholder at its place."""
    seen: list[tuple[str, re.Pattern[str], str]] = []
    for operation in OPERATIONS:
        example = re.sub(r"\{\w+\}", "x", operation.path)
        for method, pattern, path in seen:
            assert method != operation.method or not pattern.fullmatch(example), f"{operation.path} is behind {path}"
        pattern = re.compile(re.sub(r"\{\w+\}", "[^/]+", operation.path))
        seen.append((operation.method, pattern, operation.path))
