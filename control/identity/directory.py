"""Users, projects, roles and assignments: watched copies for verifying tokens, and strong reads for logins."""

import asyncio
from collections import defaultdict
from typing import Any, Final, TypeVar

from kv.cache import Cache, Change
from kv.keys import Family, Global, Key
from kv.store import Store
from schemas.identity import DOMAIN, SYSTEM, AppCredential, Assignment, NameIndex, Project, Role, User

R = TypeVar("R")

IMPLIED: Final = {
    "admin": ("manager", "member", "reader"),
    "manager": ("member", "reader"),
    "member": ("reader",),
}
"""Roles that a role brings with it, as in a Keystone that was bootstrapped; policies ask for the lower ones."""


class Directory:
    """`run` keeps the copies current; `version` rises with every change in them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.version = 0
        self.users = Cache(store, Global.USERS.under(), self._changed)
        self.projects = Cache(store, Global.IDENTITY_PROJECTS.under(), self._changed)
        self.roles = Cache(store, Global.ROLES.under(), self._changed)
        self.assignments = Cache(store, Global.ASSIGNMENTS.under(), self._assigned)
        self.revoked = Cache(store, Global.REVOKED_TOKENS.under(), self._changed)
        self.app_credentials = Cache(store, Global.APP_CREDENTIALS.under(), self._changed)
        self.regions = Cache(store, Global.REGIONS.under(), self._changed)
        self._roles_of: dict[str, dict[str, frozenset[str]]] = defaultdict(dict)
        """user -> project -> role ids"""

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for cache in self._caches():
                group.create_task(cache.run())

    @property
    def ready(self) -> bool:
        return all(cache.synced.is_set() for cache in self._caches())

    async def until_ready(self) -> None:
        for cache in self._caches():
            await cache.synced.wait()

    async def wait_until(self, revision: int) -> None:
        """Returns when the copies hold every write up to `revision`: who wrote sees the own write."""
        for cache in self._caches():
            await cache.wait_until(revision)

    async def user(self, user: str) -> User | None:
        """By id, from the copy; one that it does not hold yet is looked up."""
        return await self._known(self.users, Global.USERS(user))

    async def project(self, project: str) -> Project | None:
        return await self._known(self.projects, Global.IDENTITY_PROJECTS(project))

    async def app_credential(self, id_: str) -> AppCredential | None:
        return await self._known(self.app_credentials, Global.APP_CREDENTIALS(id_))

    async def roles_on(self, user: str, project: str) -> tuple[Role, ...]:
        """What `user` may be in `project`, by name; `project` may be the domain or the system."""
        ids = self._roles_of[user].get(project) if user in self._roles_of else None
        if ids is None:
            assignment = await self._fetch(Global.ASSIGNMENTS(user, project))
            ids = assignment.roles if assignment else frozenset()
        roles: list[Role] = []
        for role in ids:
            known = await self._known(self.roles, Global.ROLES(role))
            roles.extend([known] if known else [])
        return tuple(sorted(roles, key=lambda role: role.name))

    def with_implied(self, roles: tuple[Role, ...]) -> tuple[Role, ...]:
        """By name, of those that there are."""
        names = {role.name for role in roles}
        names |= {implied for name in names for implied in IMPLIED.get(name, ())}
        known = {stored.value.name: stored.value for stored in self.roles.items.values()}
        known |= {role.name: role for role in roles}
        return tuple(known[name] for name in sorted(names & known.keys()))

    def implied_by(self, prior: Role) -> tuple[Role, ...]:
        """What it brings with it, by name."""
        return tuple(role for role in self.with_implied((prior,)) if role != prior)

    def projects_of(self, user: str) -> list[Project]:
        """Those in which the user has a role, by name."""
        scopes = self._roles_of.get(user, {}).keys() - {DOMAIN, SYSTEM}
        found = [self.projects.get(Global.IDENTITY_PROJECTS(id_)) for id_ in scopes]
        return sorted((project for project in found if project), key=lambda project: project.name)

    def children_of(self, project: str) -> list[Project]:
        """By name; only the next generation."""
        found = [s.value for s in self.projects.items.values() if s.value.parent == project]
        return sorted(found, key=lambda child: child.name)

    def parents_of(self, project: Project) -> list[Project]:
        """The nearest first."""
        found: list[Project] = []
        parent = self.projects.get(Global.IDENTITY_PROJECTS(project.parent))
        while parent and parent not in found:
            found.append(parent)
            parent = self.projects.get(Global.IDENTITY_PROJECTS(parent.parent))
        return found

    def app_credentials_of(self, user: str) -> list[AppCredential]:
        """By name."""
        found = [s.value for s in self.app_credentials.items.values() if s.value.user == user]
        return sorted(found, key=lambda app: app.name)

    def all_assignments(self) -> list[Assignment]:
        return [stored.value for stored in self.assignments.items.values()]

    async def login_user(self, user: str | None, name: str | None) -> User | None:
        """As etcd has it now, by id or by name."""
        return await self._named(Global.USERS, Global.USER_NAMES, user, name)

    async def login_project(self, project: str | None, name: str | None) -> Project | None:
        return await self._named(Global.IDENTITY_PROJECTS, Global.PROJECT_NAMES, project, name)

    async def login_app(self, id_: str | None, name: str | None, user: str | None) -> AppCredential | None:
        """As etcd has it now, by id or by name and user."""
        if id_ is None:
            index = await self._fetch(Global.APP_CREDENTIAL_NAMES(user or "", name or ""))
            if index is None:
                return None
            id_ = index.id
        return await self._fetch(Global.APP_CREDENTIALS(id_))

    async def _named(self, family: Family[R], names: Family[NameIndex], id_: str | None, name: str | None) -> R | None:
        if id_ is None:
            index = await self._fetch(names(name or ""))
            if index is None:
                return None
            id_ = index.id
        stored = await self.store.get(family(id_))
        return stored.value if stored else None

    async def _known(self, cache: Cache[R], key: Key[R]) -> R | None:
        found = cache.get(key)
        if found is None:
            found = await self._fetch(key)
        return found

    async def _fetch(self, key: Key[R]) -> R | None:
        stored = await self.store.get(key)
        return stored.value if stored else None

    def _caches(self) -> tuple[Cache[Any], ...]:
        return (
            self.users,
            self.projects,
            self.roles,
            self.assignments,
            self.revoked,
            self.app_credentials,
            self.regions,
        )

    def _changed(self, _: Change[R]) -> None:
        self.version += 1

    def _assigned(self, change: Change[Assignment]) -> None:
        self.version += 1
        if change.old:
            self._roles_of[change.old.value.user].pop(change.old.value.project, None)
        if change.new:
            self._roles_of[change.new.value.user][change.new.value.project] = change.new.value.roles
