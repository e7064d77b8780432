"""Who may do what: Nova's rule names and defaults, checked by oslo.policy, overridable by a policy.yaml."""

from typing import Final, Literal

from attrs import evolve

from control.rules import Rules, Verdicts
from schemas.errors import BadRequest, Forbidden
from schemas.identity import Identity

PREFIX: Final = "os_compute_api:"

Role = Literal["admin", "service", "manager", "member", "reader", "any", "owner"]
"""of the project; `any`: every valid token; `owner`: the user that a resource such as a key pair belongs to; `service`:
another service of the cloud"""

CHECKS: Final[dict[Role, str]] = {
    "admin": "rule:context_is_admin",
    "service": "rule:service_or_admin",
    "manager": "rule:project_manager_or_admin",
    "member": "rule:project_member_or_admin",
    "reader": "rule:project_reader_or_admin",
    "any": "@",
    "owner": "rule:context_is_admin or user_id:%(user_id)s",
}

_BASE: Final[dict[str, str]] = {
    "context_is_admin": "role:admin",
    "admin_api": "rule:context_is_admin",
    "project_manager_api": "role:manager and project_id:%(project_id)s",
    "project_member_api": "(role:member or role:manager) and project_id:%(project_id)s",
    "project_reader_api": "(role:reader or role:member or role:manager) and project_id:%(project_id)s",
    "project_manager_or_admin": "rule:project_manager_api or rule:context_is_admin",
    "project_member_or_admin": "rule:project_member_api or rule:context_is_admin",
    "project_reader_or_admin": "rule:project_reader_api or rule:context_is_admin",
    "service_api": "role:service",
    "service_or_admin": "rule:service_api or rule:context_is_admin",
    "admin_or_owner": "rule:context_is_admin or project_id:%(project_id)s",
}
"""A role implies the lesser ones here, in case the identity service does not say so."""

FURTHER: Final[dict[str, Role]] = {
    "servers:index:get_all_tenants": "admin",
    "servers:detail:get_all_tenants": "admin",
    "servers:allow_all_filters": "admin",
    "servers:show:host_status": "admin",
    "servers:show:host_status:unknown-only": "admin",
    "servers:create:attach_network": "member",
    "servers:create:attach_volume": "member",
    "servers:create:trusted_certs": "member",
    "servers:create:forced_host": "admin",
    "servers:create:zero_disk_flavor": "admin",
    "os-extended-server-attributes": "admin",
    "os-flavor-extra-specs:index": "reader",
    "os-migrations:index:all_projects": "admin",
    "os-migrations:index:host": "admin",
    "servers:migrations:index:host": "admin",
    "os-instance-actions:events": "admin",
    "os-instance-actions:events:details": "admin",
    "os-lock-server:unlock:unlock_override": "admin",
    "os-server-groups:index:all_projects": "admin",
    "limits:other_project": "admin",
    "compute:servers:create:requested_destination": "admin",
    "compute:server:topology:host:index": "admin",
}
"""Rules that an operation checks besides its own."""


def full_name(rule: str) -> str:
    """Nova's name: with the prefix, but for the few that begin with `compute:` and those that others stand on."""
    return rule if rule.startswith("compute:") or rule in _BASE else PREFIX + rule


class Policy:
    """Verdicts are remembered by what they depend on in Nova's vocabulary of rules: rule, roles, whether the project
    and the user are the asker's own; a file may also name users and projects, so those count too when there is one."""

    def __init__(self, rules: dict[str, Role], file: str = "") -> None:
        defaults = {full_name(name): CHECKS[role] for name, role in (rules | FURTHER).items()}
        self._rules = Rules(_BASE | defaults, file, setting="api.policy_file")
        self._verdicts = Verdicts()

    def judged(self, identity: Identity) -> Identity:
        """With what the rule `context_is_admin` says of it, which only a file can make another than the role."""
        return evolve(identity, admin=self.allows(identity, "context_is_admin")) if self._rules.by_file else identity

    def allows(self, identity: Identity, rule: str, project: str | None = None, user: str | None = None) -> bool:
        """`project` and `user` own what is acted on; None: the asker."""
        project, user = project or identity.project, user or identity.user
        own = (project == identity.project, user == identity.user)
        who = (identity.user, identity.project, project, user) if self._rules.by_file else None
        target = {"project_id": project, "user_id": user, "tenant_id": project}
        return self._verdicts.of(
            (rule, identity.roles, own, who),
            lambda: self._rules.allow(full_name(rule), target, _credentials(identity)),
        )

    def check(self, identity: Identity, rule: str, project: str | None = None, user: str | None = None) -> None:
        """Raises Forbidden."""
        if not self.allows(identity, rule, project, user):
            raise Forbidden(f"Policy doesn't allow {full_name(rule)} to be performed.")


def check_project(identity: Identity, in_url: str | None) -> None:
    """A project in the URL must be the token's. Raises BadRequest."""
    if in_url is not None and in_url != identity.project:
        raise BadRequest(
            f"Malformed request URL: URL's project_id '{in_url}' doesn't match Context's project_id "
            f"'{identity.project}'"
        )


def _credentials(identity: Identity) -> dict[str, object]:
    return {
        "user_id": identity.user,
        "project_id": identity.project,
        "tenant_id": identity.project,
        "roles": sorted(identity.roles),
        "is_admin": identity.is_admin,
        "is_admin_project": True,
    }
