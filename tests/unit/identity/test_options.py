"""Options: what is kept of them, what they forbid, and when a login is enough."""

from datetime import UTC, datetime
from typing import Any

import pytest

from control.identity.options import IMMUTABLE, merged, methods_suffice, require_deletable, require_mutable
from control.identity.schemas import validate
from schemas.errors import BadRequest, Forbidden
from schemas.identity import Project

FIXED = Project("p", "name", datetime(2026, 1, 1, tzinfo=UTC), options={IMMUTABLE: True})
FREE = Project("p", "name", datetime(2026, 1, 1, tzinfo=UTC), options={IMMUTABLE: False})
KNOWN = ("password", "token", "application_credential")


def test_what_is_not_named_stays_and_none_takes_away() -> None:
    assert merged({"a": 1, "b": 2}, {"options": {"b": None, "c": 3}}) == {"a": 1, "c": 3}
    assert merged({"a": 1}, {}) == {"a": 1}


@pytest.mark.parametrize(
    "given",
    [{"name": "x"}, {"options": {}}, {"options": {IMMUTABLE: True}}, {"options": {IMMUTABLE: False}, "name": "x"}, {}],
)
def test_an_immutable_project_can_only_be_freed(given: dict[str, Any]) -> None:
    with pytest.raises(Forbidden, match="Unable to update immutable project resource: `p"):
        require_mutable("project", FIXED, given)
    require_mutable("project", FREE, given)


@pytest.mark.parametrize("freed", [False, None])
def test_it_is_freed_by_that_alone(freed: bool | None) -> None:
    require_mutable("project", FIXED, {"options": {IMMUTABLE: freed}})
    with pytest.raises(Forbidden, match="Unable to delete immutable project resource: `p"):
        require_deletable("project", FIXED)
    require_deletable("project", FREE)


@pytest.mark.parametrize(
    ("rules", "used", "enough"),
    [
        ([], ["password"], True),
        ([["password"]], ["password"], True),
        ([["password"]], ["application_credential"], False),
        ([["password", "token"]], ["password"], False),
        ([["password", "token"]], ["token", "password"], True),
        ([["password", "token"], ["password"]], ["password"], True),
        ([["password", "totp"]], ["password"], True),
        ([["totp"]], ["password"], True),
    ],
)
def test_rules_of_several_factors(rules: list[list[str]], used: list[str], enough: bool) -> None:
    options = {"multi_factor_auth_rules": rules}
    assert methods_suffice(options, used, KNOWN) == enough
    assert methods_suffice({**options, "multi_factor_auth_enabled": False}, used, KNOWN)


@pytest.mark.parametrize(
    ("noun", "options"),
    [
        ("project", {"lock_password": True}),
        ("role", {"immutable": "yes"}),
        ("user", {"immutable": True}),
        ("user", {"multi_factor_auth_rules": [[]]}),
        ("user", {"multi_factor_auth_rules": ["password"]}),
    ],
)
def test_options_that_there_are_none_of(noun: str, options: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="Invalid input for field 'options"):
        validate(f"{noun} update", {"options": options})
