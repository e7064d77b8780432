"""Who may do what: Placement's rule names and both sets of its defaults, checked by oslo.policy, overridable by a
policy.yaml."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from oslo_config import cfg
from oslo_policy import policy

from schemas.errors import Forbidden, KilonovaError
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

REMEMBERED_SECONDS: Final = 5.0
"""An edited policy file takes effect within this time."""


class BadPolicyError(KilonovaError):
    """The policy file cannot be used."""


class Policy:
    """Only tokens that are scoped to a project are asked for. `new_defaults`: without the old default rules.

    A verdict is remembered by all that it depends on; that it is about an own project is enough to know without a file.
    """

    def __init__(self, rules: Iterable[str], file: str = "", *, new_defaults: bool = True) -> None:
        if file and not Path(file).is_file():
            raise BadPolicyError(f"no policy file at {file}: correct placement.policy_file or leave it empty")
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[], default_config_dirs=[])
        self._custom = bool(file)
        self._enforcer = policy.Enforcer(conf, policy_file=str(Path(file).resolve()) if file else None)
        conf.set_override("policy_dirs", [], group="oslo_policy")
        self._enforcer.suppress_default_change_warnings = True
        self._enforcer.suppress_deprecation_warnings = True
        scopes = ["project"]
        for name, check in _BASE.items():
            check = check if new_defaults or name == "admin_api" else _LEGACY.format(check)
            self._enforcer.register_default(policy.RuleDefault(name, check))
        for name in rules:
            check = DEFAULTS.get(name, ADMIN_OR_SERVICE)
            self._enforcer.register_default(policy.RuleDefault(PREFIX + name, check, scope_types=scopes))
        if self._custom:
            self._enforcer.load_rules()
        else:  # without a file nothing is looked for on disk
            defaults = self._enforcer.registered_rules.items()
            self._enforcer.set_rules({name: rule.check for name, rule in defaults}, use_conf=False)
        self._verdicts: dict[tuple[object, ...], bool] = {}
        self._forget_at = 0.0

    def allows(self, identity: Identity, rule: str, project: str | None = None) -> bool:
        """`project` owns what is asked about; None: the asker's."""
        now = time.monotonic()
        if now >= self._forget_at:
            self._verdicts.clear()
            self._forget_at = now + REMEMBERED_SECONDS
        owner = identity.project if project is None else project
        who = (identity.user, identity.project, owner) if self._custom else owner == identity.project
        key = (rule, identity.roles, identity.system, who)
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = self._verdicts[key] = self._ask(identity, rule, owner)
        return verdict

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
        try:
            return bool(self._enforcer.enforce(PREFIX + rule, target, credentials))
        except policy.InvalidScope:
            return False
