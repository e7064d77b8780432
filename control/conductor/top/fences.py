"""Fences of top owners in the cells' stores.

Before its first write into a cell for a shard, an owner raises `fences/{shard}` there to the create-revision of its own
lease key, and compares that key in every write. A paused predecessor, whose lease is older, can then write nowhere.
"""

from kv.keys import Cell
from kv.shards import Shards
from kv.store import Store
from kv.txn import Stored, Txn
from schemas.errors import CompareFailed, UnknownOutcome


class CellFences:
    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._held: dict[tuple[str, int], tuple[int, Stored[str]]] = {}
        """(store's prefix, shard) -> (the lease's create-revision, the fence as written)"""
        self._unsure: set[tuple[str, int]] = set()
        """where a write of unknown outcome stays possible until the fence is written anew"""

    async def commit(self, store: Store, shard: int, txn: Txn) -> int:
        """Commits under the fence. Raises CompareFailed, UnknownOutcome: the latter only after the write was made
        impossible, so that reading tells what became of it."""
        fence = await self._raise(store, shard)
        try:
            return await store.commit(txn.unchanged(fence))
        except CompareFailed:
            self._held.pop((store.prefix, shard), None)
            raise
        except UnknownOutcome:
            self._held.pop((store.prefix, shard), None)
            self._unsure.add((store.prefix, shard))
            await self._raise(store, shard)
            raise CompareFailed(f"{txn.purpose}: outcome unknown, to be read") from None

    async def _raise(self, store: Store, shard: int) -> Stored[str]:
        """The fence at our lease's revision; after an unknown outcome it is rewritten even when it is there already."""
        lease = self._shards.fences.get(shard)
        if lease is None:
            raise CompareFailed(f"shard {shard} is not ours")
        mine = lease.create_revision
        place = (store.prefix, shard)
        anew, held = place in self._unsure, self._held.get(place)
        if held and held[0] == mine and not anew:
            return held[1]
        key = Cell.FENCES(shard)
        current = await store.get(key)
        if current is not None and int(current.value) > mine:
            raise CompareFailed(f"shard {shard} was taken over")
        if current is None or int(current.value) < mine or anew:
            txn = Txn("raise fence").at(key, current.mod_revision if current else 0).put(key, str(mine))
            revision = await store.commit(txn)
            current = Stored(key, str(mine), revision, current.create_revision if current else revision)
            self._unsure.discard(place)
        self._held[place] = (mine, current)
        return current
