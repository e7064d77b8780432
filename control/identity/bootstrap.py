"""What a new site's identity begins with. Again is fine: what is there stays, passwords become the given ones."""

from datetime import UTC, datetime
from functools import partial
from typing import Final
from uuid import uuid4

from control.identity.accounts import (
    PROJECTS,
    ROLES,
    USERS,
    Kind,
    R,
    create,
    find_by_name,
    grant,
    update,
    with_password,
)
from control.identity.keys import ensure_signing_key
from control.identity.options import IMMUTABLE
from control.identity.passwords import Passwords
from control.secrets import SiteKey
from kv.keys import Global
from kv.store import Store
from kv.txn import Txn
from schemas.errors import Conflict
from schemas.identity import DOMAIN, SYSTEM, Project, Region, Role, User

ROLE_NAMES: Final = ("admin", "manager", "member", "reader", "service")
PROJECT_TEXTS: Final = {
    "admin": "Bootstrap project for initializing the cloud.",
    "demo": "Everyone's first project.",
    "service": "The services' own project.",
}


async def bootstrap_identity(
    store: Store, key: SiteKey, *, admin_password: str, demo_password: str | None, region: str
) -> None:
    """A signing key, roles, projects, the user admin and, with a password, the user demo.

    `region` is the catalog's; empty leaves it to the settings of the API.
    """
    now = datetime.now(UTC)
    if region:
        await store.commit(Txn("region").put(Global.REGIONS(region), Region(region)))
    await ensure_signing_key(store, key, now)
    roles = {name: await _seed(store, ROLES, Role(uuid4().hex, name, options={IMMUTABLE: True})) for name in ROLE_NAMES}
    projects = {
        name: await _seed(store, PROJECTS, Project(uuid4().hex, name, now, description=text))
        for name, text in PROJECT_TEXTS.items()
    }
    admin = await _user(store, "admin", admin_password, projects["admin"], now)
    for scope in (projects["admin"].id, DOMAIN, SYSTEM):
        await grant(store, admin.id, scope, frozenset({roles["admin"].id}))
    if demo_password is not None:
        demo = await _user(store, "demo", demo_password, projects["demo"], now)
        await grant(store, demo.id, projects["demo"].id, frozenset({roles["member"].id, roles["reader"].id}))


async def _seed(store: Store, kind: Kind[R], fresh: R) -> R:
    """The one of that name, made if there is none. Another bootstrap may be at it at the same time."""
    found = await find_by_name(store, kind, fresh.name)
    if found:
        return found.value
    try:
        await create(store, kind, fresh)
    except Conflict:
        winner = await find_by_name(store, kind, fresh.name)
        if winner is None:
            raise
        return winner.value
    return fresh


async def _user(store: Store, name: str, password: str, project: Project, now: datetime) -> User:
    """With this password; tokens stay valid when it was this one before."""
    passwords = Passwords()
    hashed = await passwords.hash(password)
    user = await _seed(store, USERS, User(uuid4().hex, name, hashed, now, default_project=project.id))
    if not await passwords.matches(user.password_hash, password):
        user, _ = await update(store, USERS, user.id, partial(with_password, password_hash=hashed))
    return user
