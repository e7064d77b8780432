"""Which server is a member of which group, kept by a watch of the groups."""

from collections.abc import Collection
from typing import Any

from kv.follow import Follower
from kv.keys import Global
from kv.store import Store
from schemas.codec import loads
from schemas.errors import UnreadableRecord
from schemas.group import ServerGroup


class Memberships(Follower):
    """`run` keeps it current. For allocations that name no group, as those that outsiders write: the transaction that
    writes them reads and compares the group itself."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, Global.GROUPS.under())
        self._members: dict[str, frozenset[str]] = {}
        """by the group's path"""
        self._groups: dict[str, str] = {}
        """uuids of groups by those of their members"""

    def of(self, server: str) -> str | None:
        return self._groups.get(server)

    def held(self) -> Collection[str]:
        return self._members.keys()

    def take(self, path: str, kv: Any, revision: int) -> None:
        group = None
        self._store.aside.remove(path)
        if kv is not None:
            try:
                group = loads(ServerGroup, kv.value)
            except UnreadableRecord as error:
                self._store.aside.add(path, revision, error)
        for server in self._members.pop(path, ()):
            self._groups.pop(server, None)
        if group is not None:
            self._members[path] = frozenset(group.members)
            self._groups.update(dict.fromkeys(group.members, group.uuid))
