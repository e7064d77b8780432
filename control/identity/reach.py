"""Whom managers have power over: nobody who may more than a manager can give.

Keystone's rules let the manager of a domain set the password of every user in it. Where the one domain holds the
administrators too, that would make every manager an administrator. These checks stand beside the policy and cannot be
configured away.
"""

from typing import Final

from control.identity.directory import Directory
from control.identity.tokens import Standing
from kv.keys import Global
from schemas.errors import Forbidden
from schemas.identity import SYSTEM, Assignment

ADMIN: Final = "admin"
PROTECTED: Final = frozenset({ADMIN, "service"})
"""roles whose holders, and the projects that they have them in, are out of a manager's reach"""
ON_USERS: Final = frozenset({"update_user", "delete_user", "create_grant", "revoke_grant"})
ON_PROJECTS: Final = frozenset({"update_project", "delete_project"})
"""operations, by their rules, that managers have"""


async def require_reach(directory: Directory, standing: Standing, rule: str, parts: dict[str, str]) -> None:
    """Checks what the path names of an operation that the policy allows.

    Raises:
        Forbidden: The caller is no administrator, and the user holds a protected role, or any on the system, or the
            project is one where somebody holds a protected role.
    """
    if any(role.name == ADMIN for role in standing.roles):
        return
    concerned: list[Assignment] = []
    if rule in ON_USERS:
        span = Global.ASSIGNMENTS.under(parts["user"])
        concerned = [stored.value for stored in await directory.store.range(span)]
    elif rule in ON_PROJECTS:
        concerned = [one for one in directory.all_assignments() if one.project == parts["project"]]
    protected = {stored.value.id for stored in directory.roles.items.values() if stored.value.name in PROTECTED}
    if any(one.project == SYSTEM or one.roles & protected for one in concerned):
        raise Forbidden(f"You are not authorized to perform the requested action: identity:{rule}.")
