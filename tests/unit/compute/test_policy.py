"""Nova's rules and their default roles; a policy file overrides them."""

from pathlib import Path

import pytest

from control.compute.operations import OPERATIONS, default_rules
from control.compute.policy import Policy
from control.compute.tables import images
from control.rules import BadRulesError
from schemas.errors import Forbidden
from schemas.identity import Identity


def asker(*roles: str, project: str = "p1") -> Identity:
    return Identity("u1", "u1", project, project, frozenset(roles))


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy(default_rules())


@pytest.mark.parametrize(
    ("rule", "roles", "allowed"),
    [
        ("servers:show", ("reader",), True),
        ("servers:show", ("member",), True),
        ("servers:create", ("reader",), False),
        ("servers:create", ("member",), True),
        ("servers:create", ("admin",), True),
        ("servers:create", (), False),
        ("os-services:list", ("member",), False),
        ("os-services:list", ("admin",), True),
        ("limits", (), True),
        ("servers:create:forced_host", ("member",), False),
    ],
)
def test_defaults(policy: Policy, rule: str, roles: tuple[str, ...], allowed: bool) -> None:
    assert policy.allows(asker(*roles), rule) is allowed


def test_another_project_needs_admin(policy: Policy) -> None:
    assert not policy.allows(asker("member"), "os-quota-sets:show", project="p2")
    assert policy.allows(asker("admin"), "os-quota-sets:show", project="p2")


def test_key_pairs_belong_to_users(policy: Policy) -> None:
    assert policy.allows(asker("member"), "os-keypairs:show", user="u1")
    assert not policy.allows(asker("member"), "os-keypairs:show", user="u2")
    assert policy.allows(asker("admin"), "os-keypairs:show", user="u2")


def test_a_refusal_names_the_rule(policy: Policy) -> None:
    with pytest.raises(Forbidden, match=r"Policy doesn't allow os_compute_api:servers:delete to be performed\."):
        policy.check(asker("reader"), "servers:delete")


def test_a_file_overrides(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text('"os_compute_api:servers:show": "role:auditor"\n"os_compute_api:os-services:list": "user_id:u1"\n')
    policy = Policy(default_rules(), str(file))
    assert not policy.allows(asker("member"), "servers:show")
    assert policy.allows(asker("auditor"), "servers:show")
    assert policy.allows(asker("member"), "os-services:list")
    assert policy.allows(asker("member"), "servers:create")


def test_a_file_says_who_is_an_admin(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text('"context_is_admin": "role:cloud_admin"\n')
    policy = Policy(default_rules(), str(file))
    assert policy.judged(asker("cloud_admin")).is_admin
    assert not policy.judged(asker("admin")).is_admin
    assert policy.allows(asker("cloud_admin"), "os-services:list")
    assert Policy(default_rules()).judged(asker("admin")).is_admin


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadRulesError, match="no policy file at"):
        Policy(default_rules(), str(tmp_path / "none.yaml"))


def test_operations_without_a_rule_are_few() -> None:
    """Anybody may look at flavors; images have the rules of the image service."""
    free = {o.name for o in OPERATIONS if o.rule is None}
    assert free - {o.name for o in images.OPERATIONS} == {"flavors.list", "flavors.detail", "flavors.show"}
