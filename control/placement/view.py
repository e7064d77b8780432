"""Keeps a Forest current by one watch of all of placement's keys."""

import asyncio
from collections.abc import Callable, Collection
from typing import Any, Final, Generic, TypeVar

import structlog
from attrs import frozen

from control.placement.forest import Forest
from kv.follow import Follower, log_unreadable
from kv.keys import Family, Global, Key
from kv.store import Store
from kv.txn import Stored, Txn
from schemas.codec import loads
from schemas.errors import StoreUnavailable, UnreadableRecord
from schemas.placement import Allocation, Provider, ResourceClass, Trait, Usages

R = TypeVar("R")

log = structlog.get_logger()


@frozen
class _Family(Generic[R]):
    """What becomes of the records of one family. Records go by the last part of their paths."""

    cls: type[R]
    known: Callable[[str], Stored[R] | None]
    """the record as far as its revisions matter"""
    get: Callable[[str], Stored[R] | None]
    set: Callable[[str, Stored[R] | None, int], None]
    names: Callable[[], Collection[str]]


class View(Follower):
    """`run` keeps it current. Questions are answered on `await view.current()`; what was committed is `learn`ed."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, Global.PLACEMENT)
        self.forest = Forest()
        self.traits: dict[str, Stored[Trait]] = {}
        """the custom ones by name"""
        self.classes: dict[str, Stored[ResourceClass]] = {}
        """the custom ones by name"""
        self._families: Final[dict[str, _Family[Any]]] = {
            _stem(Global.PROVIDERS): _providers(self.forest),
            _stem(Global.USAGES): _usages(self.forest),
            _stem(Global.ALLOCATIONS): _allocations(self.forest),
            _stem(Global.TRAITS): _kept(Trait, self.traits),
            _stem(Global.RESOURCE_CLASSES): _kept(ResourceClass, self.classes),
            **{_stem(f): _kept(f.cls, {}) for f in (Global.PROVIDER_NAMES, Global.PROVIDER_CHILDREN, Global.ERASURES)},
        }
        self._reading: asyncio.Task[int] | None = None
        """the read of the revision that is to be sent next or was not sent yet"""
        self._last_read: asyncio.Task[int] | None = None
        self._lags = False
        """the revision last read was ahead of the watch: other keys than these are written"""

    async def current(self) -> Forest:
        """The forest, at least as new as the moment of the call. All who ask before the next read is sent share it.

        Raises StoreUnavailable when etcd or its watch does not answer in time.
        """
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(self._last_read), name="placement's revision")
        revision = await asyncio.shield(self._reading)
        if self.revision < revision:
            self._lags = True
            try:
                async with asyncio.timeout(self._store.etcd.timeout):
                    await self.wait_until(revision)
            except TimeoutError:
                raise StoreUnavailable("placement's watch does not follow etcd") from None
        return self.forest

    def get(self, key: Key[R]) -> Stored[R] | None:
        """One of placement's records as last heard of. Raises KeyError when it is none of placement's."""
        stem, name = _parted(key.path)
        found: Stored[R] | None = self._families[stem].get(name)
        return found

    def learn(self, txn: Txn) -> None:
        """What was just committed is seen at once; the watch will tell of it again."""
        for write in txn.writes.values():
            stem, name = _parted(write.path)
            family = self._families.get(stem)
            if family is None:
                continue
            stored = None
            if write.data is not None:
                known = family.known(name)
                created = known.create_revision if known else txn.revision
                stored = Stored(Key(write.path, family.cls), write.value, txn.revision, created, write.lease)
            family.set(name, stored, txn.revision)

    # What the watch tells

    def held(self) -> Collection[str]:
        return [f"{stem}/{name}" for stem, family in self._families.items() for name in family.names()]

    def take(self, path: str, kv: Any, revision: int) -> None:
        stem, name = _parted(path)
        family = self._families.get(stem)
        if family is None:
            return
        known = family.known(name)
        if known is not None and known.mod_revision >= revision:
            return
        stored = None
        if kv is not None:
            try:  # not through the store, which may keep what it decodes: the forest keeps it in less
                value = loads(family.cls, kv.value)
                stored = Stored(Key(path, family.cls), value, revision, kv.create_revision, kv.lease)
            except UnreadableRecord as error:
                log_unreadable(UnreadableRecord(f"{path}: {error.message}"))  # it counts as absent
        family.set(name, stored, revision)

    def advance(self, revision: int) -> None:
        super().advance(revision)
        self.forest.forget_deletions(self.revision)

    async def _read(self, before: asyncio.Task[int] | None) -> int:
        """One at a time: while one is under way, those who come meanwhile gather for the next."""
        if before is not None:
            await asyncio.wait([before])
        self._last_read, self._reading = self._reading, None
        if self._lags:
            self._lags = False
            self.ask()  # asked for at the same time, the watch's progress takes no time of its own
        return await self._store.revision()


def _stem(family: Family[Any]) -> str:
    return family.template.rsplit("/", 1)[0]


def _parted(path: str) -> tuple[str, str]:
    stem, _, name = path.rpartition("/")
    return stem, name


def _providers(forest: Forest) -> _Family[Provider]:
    def known(uuid: str) -> Stored[Provider] | None:
        node = forest.nodes.get(uuid)
        return node.stored if node else None

    def names() -> list[str]:
        return [uuid for uuid, node in forest.nodes.items() if node.stored]

    return _Family(Provider, known, forest.provider, forest.set_provider, names)


def _usages(forest: Forest) -> _Family[Usages]:
    def names() -> list[str]:
        return [uuid for uuid, node in forest.nodes.items() if node.usages]

    return _Family(Usages, forest.usages, forest.usages, forest.set_usages, names)


def _allocations(forest: Forest) -> _Family[Allocation]:
    get = forest.allocation
    return _Family(Allocation, get, get, forest.set_allocation, forest.consumers.uuids)


def _kept(cls: type[R], records: dict[str, Stored[R]]) -> _Family[R]:
    """Records that are only looked up."""

    def put(name: str, stored: Stored[R] | None, _: int) -> None:
        if stored is None:
            records.pop(name, None)
        else:
            records[name] = stored

    return _Family(cls, records.get, records.get, put, records.keys)
