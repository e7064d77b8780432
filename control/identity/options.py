"""Options of users, projects and roles: what may be set, what it forbids. Pure."""

from collections.abc import Iterable
from typing import Any, Final

from schemas.errors import Forbidden
from schemas.identity import Project, Role

_FLAG: Final = {"type": "boolean"}
_METHODS: Final = {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True}

IMMUTABLE: Final = "immutable"
IGNORE_LOCKOUT: Final = "ignore_lockout_failure_attempts"
LOCK_PASSWORD: Final = "lock_password"
MFA_ENABLED: Final = "multi_factor_auth_enabled"
MFA_RULES: Final = "multi_factor_auth_rules"

RESOURCE: Final[dict[str, Any]] = {IMMUTABLE: _FLAG}
USER: Final[dict[str, Any]] = {
    "ignore_change_password_upon_first_use": _FLAG,
    "ignore_password_expiry": _FLAG,
    IGNORE_LOCKOUT: _FLAG,
    "ignore_user_inactivity": _FLAG,
    LOCK_PASSWORD: _FLAG,
    MFA_ENABLED: _FLAG,
    MFA_RULES: {"type": "array", "items": _METHODS, "uniqueItems": True},
}
"""Those that ignore something else than a lockout are kept and shown: nothing of what they ignore exists here."""


def schema(options: dict[str, Any]) -> dict[str, Any]:
    """None takes an option away."""
    properties = {name: {**known, "type": [known["type"], "null"]} for name, known in options.items()}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def merged(had: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """With what a request says of options; what it does not name stays."""
    asked = given.get("options") or {}
    return {name: value for name, value in {**had, **asked}.items() if value is not None}


def require_mutable(noun: str, resource: Project | Role, given: dict[str, Any]) -> None:
    """Of an immutable one nothing can be changed but that. Raises Forbidden."""
    options = given.get("options") or {}
    freed = set(given) == {"options"} and options.get(IMMUTABLE, True) in (False, None)
    if resource.options.get(IMMUTABLE) and not freed:
        raise _immutable("update", noun, resource.id)


def require_deletable(noun: str, resource: Project | Role) -> None:
    """Raises Forbidden."""
    if resource.options.get(IMMUTABLE):
        raise _immutable("delete", noun, resource.id)


def methods_suffice(options: dict[str, Any], used: Iterable[str], known: Iterable[str]) -> bool:
    """Whether one of the user's rules is kept. A rule counts with those of its methods that there are here."""
    rules = [kept for rule in options.get(MFA_RULES, ()) if (kept := set(rule) & set(known))]
    return not rules or not options.get(MFA_ENABLED, True) or any(rule <= set(used) for rule in rules)


def _immutable(verb: str, noun: str, id_: str) -> Forbidden:
    return Forbidden(
        f'Unable to {verb} immutable {noun} resource: `{id_}. Set resource option "immutable" to false first.'
    )
