"""Who may do what: Placement's rule names and both sets of its defaults, checked by oslo.policy, overridable by a
policy.yaml."""

from collections.abc import Iterable
from typing import Final

from control.rules import Rules, Verdicts
from schemas.errors import Forbidden
from schemas.identity import Identity

PREFIX: Final = "placement:"
ADMIN_OR_SERVICE: Final = "rule:admin_or_service_api"

DEFAULTS: Final[dict[str, str]] = {
    "reshaper:reshape": "rule:service_api",
    "usages": "rule:admin_or_project_reader_or_service_api",
}
"""by rule; every other is ADMIN_OR_SERVICE"""

_BASE: Final[dict[str, str]] = {
    "admin_api": "role:admin",
    "service_api": "role:service",
    "admin_or_service_api": "role:admin or role:service",
    "project_reader_api": "role:reader and project_id:%(project_id)s",
    "admin_or_project_reader_or_service_api": "role:admin or rule:project_reader_api or role:service",
}
_LEGACY: Final = "({}) or rule:admin_api"
"""The old defaults ask for the role admin, on whatever; what the new ones allow is allowed as well."""


class Policy:
    """Only tokens that are scoped to a project are asked for. `new_defaults`: without the old default rules.

    A verdict is remembered by all that it depends on; that it is about an own project is enough to know without a file.
    """

    def __init__(self, rules: Iterable[str], file: str = "", *, new_defaults: bool = True) -> None:
        base = {
            name: check if new_defaults or name == "admin_api" else _LEGACY.format(check)
            for name, check in _BASE.items()
        }
        own = {PREFIX + name: DEFAULTS.get(name, ADMIN_OR_SERVICE) for name in rules}
        self._rules = Rules(base | own, file, setting="placement.policy_file", of_projects=own)
        self._verdicts = Verdicts()

    def allows(self, identity: Identity, rule: str, project: str | None = None) -> bool:
        """`project` owns what is asked about; None: the asker's."""
        owner = identity.project if project is None else project
        who = (identity.user, identity.project, owner) if self._rules.by_file else owner == identity.project
        key = (rule, identity.roles, identity.system, who)
        return self._verdicts.of(key, lambda: self._ask(identity, rule, owner))

    def check(self, identity: Identity, rule: str, project: str | None = None) -> None:
        """Raises Forbidden."""
        if not self.allows(identity, rule, project):
            raise Forbidden(f"Policy does not allow {PREFIX}{rule} to be performed.")

    def _ask(self, identity: Identity, rule: str, project: str) -> bool:
        target = {"project_id": project, "user_id": identity.user}
        credentials: dict[str, object] = {
            "user_id": identity.user,
            "project_id": identity.project or None,
            "roles": sorted(identity.roles),
            "is_admin": False,
            "is_admin_project": True,
        }
        if identity.system:
            credentials["system_scope"] = "all"
        return self._rules.allow(PREFIX + rule, target, credentials)
