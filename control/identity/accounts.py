"""Changes of users, projects, roles and grants: each one guarded transaction, names unique within their kind."""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from attrs import evolve, frozen

from control.identity.app_credentials import remove_all
from control.identity.sizes import require_small
from kv.keys import Family, Global
from kv.store import Store
from kv.txn import MAX_OPERATIONS, Stored, Txn
from schemas.errors import CompareFailed, Conflict, NotFound
from schemas.identity import DOMAIN, AppCredential, Assignment, NameIndex, Project, Role, User

R = TypeVar("R", User, Project, Role)

TRIES: Final = 10
"""rounds of read and guarded write until a change that keeps losing is given up"""


@frozen
class Kind(Generic[R]):
    """A kind of record with a unique name."""

    noun: str
    records: Family[R]
    names: Family[NameIndex]


USERS: Final = Kind("user", Global.USERS, Global.USER_NAMES)
PROJECTS: Final = Kind("project", Global.IDENTITY_PROJECTS, Global.PROJECT_NAMES)
ROLES: Final = Kind("role", Global.ROLES, Global.ROLE_NAMES)


async def read(store: Store, kind: Kind[R], id_: str) -> Stored[R]:
    """Raises NotFound."""
    found = await store.get(kind.records(id_))
    if found is None:
        raise NotFound(f"Could not find {kind.noun}: {id_}.")
    return found


async def find_by_name(store: Store, kind: Kind[R], name: str) -> Stored[R] | None:
    index = await store.get(kind.names(name))
    return await store.get(kind.records(index.value.id)) if index else None


async def create(store: Store, kind: Kind[R], record: R) -> int:
    """The revision. Raises Conflict when the name is taken."""
    require_small(kind.noun, record)
    txn = Txn(f"{kind.noun}-create").create(kind.records(record.id), record)
    txn.create(kind.names(record.name), NameIndex(record.id))
    try:
        return await store.commit(txn)
    except CompareFailed as error:
        raise _taken(kind, record.name) from error


async def update(store: Store, kind: Kind[R], id_: str, change: Callable[[R], R]) -> tuple[R, int]:
    """Applies `change` to the record as it is now. The changed record and the revision."""
    for _ in range(TRIES):
        stored = await read(store, kind, id_)
        old, new = stored.value, change(stored.value)
        require_small(kind.noun, new)
        txn = Txn(f"{kind.noun}-update").replace(stored, new)
        if new.name != old.name:
            if await store.get(kind.names(new.name)):
                raise _taken(kind, new.name)
            txn.delete(kind.names(old.name)).create(kind.names(new.name), NameIndex(id_))
        try:
            return new, await store.commit(txn)
        except CompareFailed:
            continue
    raise Conflict(f"The {kind.noun} {id_} keeps being changed by others: try again.")


async def remove(
    store: Store,
    kind: Kind[R],
    id_: str,
    concerned: Callable[[Assignment], bool],
    apps: Callable[[AppCredential], bool] | None = None,
) -> int:
    """The record, its name, and the grants and application credentials that it is concerned in."""
    stored = await read(store, kind, id_)
    revision = await store.commit(Txn(f"{kind.noun}-delete").remove(stored).delete(kind.names(stored.value.name)))
    grants = [s for s in await store.range(Global.ASSIGNMENTS.under()) if concerned(s.value)]
    for i in range(0, len(grants), MAX_OPERATIONS // 2):
        txn = Txn("grants-delete")
        for assignment in grants[i : i + MAX_OPERATIONS // 2]:
            txn.delete(assignment.key)
        revision = await store.commit(txn)
    return max(revision, await remove_all(store, apps)) if apps else revision


async def grant(store: Store, user: str, scope: str, roles: frozenset[str]) -> int:
    """Adds roles, by id, on a project or the domain."""
    return await _assign(store, user, scope, lambda had: had | roles)


async def revoke(store: Store, user: str, scope: str, role: str) -> int:
    """The user's application credentials for `scope` go with it. Raises NotFound when it was not granted."""

    def without(had: frozenset[str]) -> frozenset[str]:
        if role not in had:
            raise no_grant(user, scope, role)
        return had - {role}

    revision = await _assign(store, user, scope, without)
    return max(revision, await remove_all(store, lambda app: (app.user, app.project) == (user, scope)))


def no_grant(user: str, scope: str, role: str) -> NotFound:
    return NotFound(
        f"Could not find role assignment with role: {role}, user or group: {user}, project, domain, or system: {scope}."
    )


def with_password(user: User, password_hash: str) -> User:
    """Tokens of the old password end."""
    return evolve(user, password_hash=password_hash, epoch=user.epoch + 1)


async def _assign(store: Store, user: str, scope: str, change: Callable[[frozenset[str]], frozenset[str]]) -> int:
    key = Global.ASSIGNMENTS(user, scope)
    for _ in range(TRIES):
        stored = await store.get(key)
        had = stored.value.roles if stored else frozenset()
        roles = change(had)
        txn = Txn("grant").at(key, stored.mod_revision if stored else 0)
        if roles:
            txn.put(key, Assignment(user, scope, roles))
        else:
            txn.delete(key)
        try:
            return await store.commit(txn)
        except CompareFailed:
            continue
    raise Conflict(f"The grants of user {user} on {scope} keep being changed by others: try again.")


def _taken(kind: Kind[R], name: str) -> Conflict:
    return Conflict(
        f"Conflict occurred attempting to store {kind.noun} - Duplicate entry found with name {name} at domain ID "
        f"{DOMAIN}."
    )
