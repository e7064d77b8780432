"""A watched copy of the records of a span of keys."""

from collections.abc import Callable, Collection
from typing import Any, Generic, TypeVar

from attrs import frozen

from kv.follow import Follower
from kv.keys import Key, Span
from kv.store import Store
from kv.txn import Stored

R = TypeVar("R")


@frozen
class Change(Generic[R]):
    """`old` is None for a new record, `new` for one that is gone."""

    old: Stored[R] | None
    new: Stored[R] | None

    @property
    def key(self) -> Key[R]:
        stored = self.new or self.old
        assert stored is not None
        return stored.key


class Cache(Follower, Generic[R]):
    """Read `items` at will."""

    def __init__(self, store: Store, span: Span[R], on_change: Callable[[Change[R]], None] | None = None) -> None:
        super().__init__(store, span)
        self.items: dict[str, Stored[R]] = {}
        """by path"""
        self._cls = span.cls
        self._on_change = on_change

    def get(self, key: Key[R]) -> R | None:
        stored = self.items.get(key.path)
        return stored.value if stored else None

    def held(self) -> Collection[str]:
        return self.items.keys()

    def take(self, path: str, kv: Any, revision: int) -> None:
        old = self.items.get(path)
        if old is not None and kv is not None and old.mod_revision == revision:
            return
        new = None if kv is None else self._store.readable(self._cls, kv)
        if kv is None:
            self._store.aside.remove(path)
        if new is None:
            self.items.pop(path, None)
        else:
            self.items[path] = new
        if self._on_change is not None and (old or new):
            self._on_change(Change(old, new))
