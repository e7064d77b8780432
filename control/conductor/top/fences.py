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
            await self._raise(store, shard, anew=True)
            raise CompareFailed(f"{txn.purpose}: outcome unknown, to be read") from None

    async def _raise(self, store: Store, shard: int, *, anew: bool = False) -> Stored[str]:
        """The fence at our lease's revision; `anew` rewrites it even when it is there already."""
        lease = self._shards.fences.get(shard)
        if lease is None:
            raise CompareFailed(f"shard {shard} is not ours")
        mine = lease.create_revision
        held = self._held.get((store.prefix, shard))
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
        self._held[store.prefix, shard] = (mine, current)
        return current
