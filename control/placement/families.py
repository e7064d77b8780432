"""The families of placement's keys, and following them: what becomes of the records of each.

Records go by the last part of their paths.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Generic, TypeVar

from attrs import frozen

from control.placement.forest import Forest
from kv.follow import Follower
from kv.keys import Family, Global, Key, Span
from kv.store import Store
from kv.txn import Stored, Txn
from schemas.codec import loads
from schemas.errors import UnreadableRecord
from schemas.placement import Allocation, Provider, Usages

R = TypeVar("R")


@frozen
class Kept(Generic[R]):
    """What is done with the records of one family."""

    cls: type[R]
    known: Callable[[str], Stored[R] | None]
    """the record, but for a provider's traits, which take time to spell"""
    get: Callable[[str], Stored[R] | None]
    set: Callable[[str, Stored[R] | None, int | None], None]
    names: Callable[[], Collection[str]]


Families = Mapping[str, Kept[Any]]
"""by stem: the part of the paths that all records of a family share"""


class FamiliesFollower(Follower):
    """Follows a span that holds just these families. `on_advance` hears up to where it is complete."""

    def __init__(self, store: Store, span: Span[Any], families: Families, on_advance: Callable[[int], None]) -> None:
        super().__init__(store, span)
        self._families: Final = families
        self._on_advance = on_advance

    def held(self) -> Collection[str]:
        return [f"{stem}/{name}" for stem, family in self._families.items() for name in family.names()]

    def take(self, path: str, kv: Any, revision: int) -> None:
        stem, name = parted(path)
        family = self._families.get(stem)
        if family is None:
            return
        known = family.known(name)
        if known is not None and known.mod_revision >= revision:
            return
        stored = None
        if kv is None:
            self._store.aside.remove(path)
        else:
            try:  # not through the store, which may keep what it decodes: the forest keeps it in less
                value = loads(family.cls, kv.value)
                stored = Stored(Key(path, family.cls), value, revision, kv.create_revision, kv.lease)
            except UnreadableRecord as error:
                self._store.aside.add(path, revision, error)  # it counts as absent
            else:
                self._store.aside.remove(path)
        family.set(name, stored, revision)

    def advance(self, revision: int) -> None:
        super().advance(revision)
        self._on_advance(self.revision)

    def learn(self, txn: Txn) -> None:
        """What was just committed is seen at once; the watch will tell of it again."""
        for write in txn.writes.values():
            stem, name = parted(write.path)
            family = self._families.get(stem)
            if family is None:
                continue
            stored = None
            if write.data is not None:
                known = family.known(name)
                created = known.create_revision if known else txn.revision
                stored = Stored(Key(write.path, family.cls), write.value, txn.revision, created, write.lease)
            family.set(name, stored, txn.revision)


def stem_of(family: Family[Any]) -> str:
    return family.template.rsplit("/", 1)[0]


def parted(path: str) -> tuple[str, str]:
    stem, _, name = path.rpartition("/")
    return stem, name


def providers_of(forest: Forest) -> Families:
    def known(uuid: str) -> Stored[Provider] | None:
        node = forest.nodes.get(uuid)
        return node.stored if node else None

    def names() -> list[str]:
        return [uuid for uuid, node in forest.nodes.items() if node.stored]

    return {stem_of(Global.PROVIDERS): Kept(Provider, known, forest.provider, forest.set_provider, names)}


def usages_of(forest: Forest) -> Families:
    def names() -> list[str]:
        return [uuid for uuid, node in forest.nodes.items() if node.usages]

    return {stem_of(Global.USAGES): Kept(Usages, forest.usages, forest.usages, forest.set_usages, names)}


def allocations_of(forest: Forest) -> Families:
    get = forest.allocation
    return {
        stem_of(Global.ALLOCATIONS): Kept(Allocation, get, get, forest.set_allocation, forest.consumers.uuids),
    }


def looked_up(family: Family[R], records: dict[str, Stored[R]]) -> Families:
    """Records that are only looked up."""

    def put(name: str, stored: Stored[R] | None, _: int | None) -> None:
        if stored is None:
            records.pop(name, None)
        else:
            records[name] = stored

    return {stem_of(family): Kept(family.cls, records.get, records.get, put, records.keys)}
