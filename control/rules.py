"""Rules of one service by oslo.policy: named checks with defaults, each overridable by a line of a policy.yaml."""

import time
from collections.abc import Callable, Collection, Hashable, Mapping
from pathlib import Path
from typing import Any, Final

from oslo_config import cfg
from oslo_policy import policy

from schemas.errors import KilonovaError

REMEMBERED_SECONDS: Final = 5.0
"""An edited policy file takes effect within this time, where verdicts are remembered."""


class BadRulesError(KilonovaError):
    """The policy file cannot be used."""


class Rules:
    """`file` is a policy.yaml, or empty, and `setting` is what names it. It is read again when it changes.

    Rules in `of_projects` are only kept with a token that is scoped to a project.
    """

    def __init__(
        self, defaults: Mapping[str, str], file: str = "", *, setting: str, of_projects: Collection[str] = ()
    ) -> None:
        if file and not Path(file).is_file():
            raise BadRulesError(f"no policy file at {file}: correct {setting} or leave it empty")
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[], default_config_dirs=[])
        self.by_file = bool(file)
        self._enforcer = policy.Enforcer(conf, policy_file=str(Path(file).resolve()) if file else None)
        conf.set_override("policy_dirs", [], group="oslo_policy")
        self._enforcer.suppress_default_change_warnings = True
        self._enforcer.suppress_deprecation_warnings = True
        for name, check in defaults.items():
            scopes = ["project"] if name in of_projects else None
            self._enforcer.register_default(policy.RuleDefault(name, check, scope_types=scopes))
        if file:
            self._enforcer.load_rules()
        else:  # nothing is looked for on disk
            checks = {name: rule.check for name, rule in self._enforcer.registered_rules.items()}
            self._enforcer.set_rules(checks, use_conf=False)

    def allow(self, rule: str, target: Mapping[str, Any], credentials: Mapping[str, Any]) -> bool:
        """`target` is flat, its names may have dots; `credentials` may be nested."""
        try:
            return bool(self._enforcer.enforce(rule, dict(target), dict(credentials)))
        except policy.InvalidScope:
            return False


class Verdicts:
    """What rules said, remembered by all that it depends on."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, bool] = {}
        self._forget_at = 0.0

    def of(self, key: Hashable, ask: Callable[[], bool]) -> bool:
        now = time.monotonic()
        if now >= self._forget_at:
            self._kept.clear()
            self._forget_at = now + REMEMBERED_SECONDS
        verdict = self._kept.get(key)
        if verdict is None:
            verdict = self._kept[key] = ask()
        return verdict
