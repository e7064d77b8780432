"""Decoded records, by key and revision: what was not written since is not decoded again. Saves work, never a read."""

from typing import Any

from kv.txn import Stored


class Memo:
    """Of one store. Forgets the records that it has known longest."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._known: dict[bytes, Stored[Any]] = {}

    def get(self, key: bytes, cls: type, mod_revision: int) -> Stored[Any] | None:
        known = self._known.get(key)
        return known if known and known.mod_revision == mod_revision and known.key.cls is cls else None

    def put(self, key: bytes, stored: Stored[Any]) -> None:
        self._known.pop(key, None)
        if len(self._known) >= self._size:
            del self._known[next(iter(self._known))]
        self._known[key] = stored
