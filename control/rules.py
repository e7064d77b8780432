"""Rules of one service by oslo.policy: named checks with defaults, each overridable by a line of a policy.yaml."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oslo_config import cfg
from oslo_policy import policy

from schemas.errors import KilonovaError


class BadRulesError(KilonovaError):
    """The policy file cannot be used."""


class Rules:
    """`file` is a policy.yaml, or empty. It is read again when it changes."""

    def __init__(self, defaults: Mapping[str, str], file: str = "") -> None:
        if file and not Path(file).is_file():
            raise BadRulesError(f"no policy file at {file}: correct the setting or leave it empty")
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[], default_config_dirs=[])
        self._file = file
        self._enforcer = policy.Enforcer(conf, policy_file=str(Path(file).resolve()) if file else None)
        conf.set_override("policy_dirs", [], group="oslo_policy")
        self._enforcer.suppress_default_change_warnings = True
        self._enforcer.suppress_deprecation_warnings = True
        self._enforcer.register_defaults([policy.RuleDefault(name, check) for name, check in defaults.items()])
        if file:
            self._enforcer.load_rules()
        else:  # nothing is looked for on disk
            checks = {name: rule.check for name, rule in self._enforcer.registered_rules.items()}
            self._enforcer.set_rules(checks, use_conf=False)

    def allow(self, rule: str, target: Mapping[str, Any], credentials: Mapping[str, Any]) -> bool:
        """`target` is flat, its names may have dots; `credentials` may be nested."""
        return bool(self._enforcer.enforce(rule, dict(target), dict(credentials)))
