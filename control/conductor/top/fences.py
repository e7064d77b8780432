"""Fences of top owners in the cells' stores.

Before its first write into a cell for a shard, an owner raises `fences/{shard}` there to the create-revision of its own
lease key, and compares that key in every write. A paused predecessor, whose lease is older, can then write nowhere.
"""

from weakref import WeakKeyDictionary

from kv.keys import Cell
from kv.shards import Shards
from kv.store import Store
from kv.txn import Stored, Txn
from schemas.errors import CompareFailed, UnknownOutcome


class CellFences:
    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._held: WeakKeyDictionary[Store, dict[int, tuple[int, Stored[str]]]] = WeakKeyDictionary()
        """shard -> (the lease's create-revision, the fence as written), by the store itself: two clusters may have the
        same prefix"""
        self._sure: WeakKeyDictionary[Store, set[int]] = WeakKeyDictionary()
        """shards whose fence was written after the last write of unknown outcome; of a store that is new to this
        process nothing is known"""

    async def commit(self, store: Store, shard: int, txn: Txn) -> int:
        """Commits under the fence. Raises CompareFailed, UnknownOutcome: the latter only after the write was made
        impossible, so that reading tells what became of it."""
        fence = await self._raise(store, shard)
        try:
            return await store.commit(txn.unchanged(fence))
        except CompareFailed:
            self._held[store].pop(shard, None)
            raise
        except UnknownOutcome:
            self._held[store].pop(shard, None)
            self._sure[store].discard(shard)
            await self._raise(store, shard)
            raise CompareFailed(f"{txn.purpose}: outcome unknown, to be read") from None

    async def hold(self, store: Store, shard: int) -> None:
        """Raises the fence if that is still to be done; nothing else is written. Raises CompareFailed,
        StoreUnavailable."""
        await self._raise(store, shard)

    async def _raise(self, store: Store, shard: int) -> Stored[str]:
        """The fence at our lease's revision; after an unknown outcome it is rewritten even when it is there already."""
        lease = self._shards.fences.get(shard)
        if lease is None:
            raise CompareFailed(f"shard {shard} is not ours")
        mine = lease.create_revision
        fences, sure = self._held.setdefault(store, {}), self._sure.setdefault(store, set())
        held = fences.get(shard)
        if held and held[0] == mine:
            return held[1]
        key = Cell.FENCES(shard)
        current = await store.get(key)
        if current is not None and int(current.value) > mine:
            raise CompareFailed(f"shard {shard} was taken over")
        if current is None or int(current.value) < mine or shard not in sure:
            txn = Txn("raise fence").at(key, current.mod_revision if current else 0).put(key, str(mine))
            revision = await store.commit(txn)
            current = Stored(key, str(mine), revision, current.create_revision if current else revision)
            sure.add(shard)
        fences[shard] = (mine, current)
        return current
