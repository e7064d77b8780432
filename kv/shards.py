"""Which of a store's 64 shards this process owns.

Every member keeps `members/{pod}` under a lease. Each shard belongs to the member that rendezvous hashing names; the
key `leases/{shard}`, under the same lease, makes that exclusive, and its mod-revision is the *fence* that every
transaction of the owner compares. A member that joins, leaves or dies moves only the shards that it gains or had.
"""

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import blake2b

import structlog

from kv.cache import Cache, Change
from kv.keys import Cell, Family, Global, Key
from kv.leases import KeepAlive
from kv.store import Store
from kv.txn import Stored, Txn
from schemas.errors import CompareFailed, KilonovaError, StoreUnavailable, UnknownOutcome
from schemas.shards import SHARDS

log = structlog.get_logger()


def owner_of(shard: int, members: frozenset[str]) -> str | None:
    """Rendezvous hashing: every process that sees the same members names the same owner."""
    if not members:
        return None
    return max(members, key=lambda m: (blake2b(f"{m}/{shard}".encode(), digest_size=8).digest(), m))


class Shards:
    """`on_gain(shard)` is called after a shard became ours, `on_loss(shard)` before it is given away."""

    def __init__(
        self,
        store: Store,
        pod: str,
        ttl: int,
        on_gain: Callable[[int], Awaitable[None]],
        on_loss: Callable[[int], Awaitable[None]],
        families: type[Global] | type[Cell],
    ) -> None:
        self.store = store
        self.pod = pod
        self.fences: dict[int, Stored[str]] = {}
        """owned shards"""
        self._ttl = ttl
        self._on_gain = on_gain
        self._on_loss = on_loss
        self._leases: Family[str] = families.LEASES
        self._members: Family[str] = families.MEMBERS
        self._unreturned: set[int] = set()
        """given up, but the key may still say that they are ours"""
        self._expires = 0.0
        self._next_renewal = 0.0
        """both of the member's lease, in the loop's time"""
        self._dirty = asyncio.Event()
        self._keepalive = KeepAlive(store.etcd)
        self._member_cache = Cache(store, self._members.under(), self._changed)
        self._lease_cache = Cache(store, self._leases.under(), self._changed)

    @property
    def settled(self) -> bool:
        """Every shard that should be ours is."""
        return self._member_cache.synced.is_set() and self._wanted() <= self.fences.keys()

    def guard(self, txn: Txn, shard: int) -> Txn:
        """Adds the fence. Raises CompareFailed when the shard is not ours any more."""
        fence = self.fences.get(shard)
        if fence is None:
            raise CompareFailed(f"shard {shard} is not ours")
        return txn.unchanged(fence)

    async def refence(self, shard: int) -> None:
        """Makes every unconfirmed write under the old fence impossible. Raises CompareFailed when the shard is lost."""
        while True:
            held = self.fences.get(shard)
            if held is None:
                raise CompareFailed(f"shard {shard} is not ours")
            current = await self.store.get(held.key)
            if current is None or current.value != self.pod:
                await self._lose(shard)
                raise CompareFailed(f"shard {shard} was taken over")
            try:
                revision = await self.store.commit(Txn("refence").replace(current, self.pod))
            except (UnknownOutcome, CompareFailed):
                await asyncio.sleep(0.1)
                continue
            self.fences[shard] = Stored(held.key, self.pod, revision, current.create_revision, current.lease)
            return

    async def run(self) -> None:
        """Until cancelled; then the shards are handed over at once."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._member_cache.run(), name="members")
            group.create_task(self._lease_cache.run(), name="leases")
            group.create_task(self._reign(), name="shards")

    async def leave(self) -> None:
        """Gives everything back, so that others need not wait for the lease to run out."""
        for shard in list(self.fences):
            await self._give_back(shard)
        await self._keepalive.close()

    async def _reign(self) -> None:
        while True:
            try:
                lease = await self.store.etcd.grant(self._ttl)
                member = self._members(self.pod)
                await self.store.commit(Txn("join").put(member, self.pod, lease))
                await self._member_cache.synced.wait()
                await self._lease_cache.synced.wait()
                try:
                    await self._hold(lease)
                except asyncio.CancelledError:
                    await asyncio.shield(self._abdicate(lease))
                    raise
            except (KilonovaError, TimeoutError) as error:
                log.warning("shards lost", reason=str(error))
            for shard in list(self.fences):
                await self._lose(shard)
            await asyncio.sleep(0.2)

    async def _abdicate(self, lease: int) -> None:
        await self.leave()
        try:
            await self.store.etcd.revoke(lease)
        except StoreUnavailable as error:
            log.info("lease left to run out", reason=error.message)

    async def _hold(self, lease: int) -> None:
        """Renews the lease and takes or gives shards until the lease is gone."""
        loop = asyncio.get_running_loop()
        self._expires = loop.time() + self._ttl
        self._next_renewal = 0.0
        while True:
            await self._renew(lease)
            await self._settle(lease)
            try:
                async with asyncio.timeout(max(0.05, self._next_renewal - loop.time())):
                    await self._dirty.wait()
            except TimeoutError:
                pass

    async def _renew(self, lease: int) -> None:
        """When it is due. Raises StoreUnavailable when the lease is gone."""
        loop = asyncio.get_running_loop()
        sent = loop.time()
        if sent < self._next_renewal:
            return
        try:
            left = await self._keepalive.renew(lease)
            if left <= 0:
                self._expires = 0.0
                raise StoreUnavailable("the member's lease ran out")
            self._expires = sent + left
        except StoreUnavailable:
            if loop.time() >= self._expires:
                raise
        self._next_renewal = loop.time() + self._ttl / 3

    async def _settle(self, lease: int) -> None:
        self._dirty.clear()
        wanted = self._wanted()
        for shard in sorted(self.fences.keys() - wanted):
            await self._give_back(shard)
        for shard in sorted(self._unreturned):
            await self._return(shard, self._lease_cache.items.get(self._leases(shard).path))
        for shard in sorted(wanted - self.fences.keys()):
            key = self._leases(shard)
            if key.path not in self._lease_cache.items:
                await self._renew(lease)  # on a busy machine taking them all takes longer than the lease lasts
                await self._take(shard, key, lease)
        for shard, fence in list(self.fences.items()):
            seen = self._lease_cache.items.get(fence.key.path)
            if seen is not None and seen.value != self.pod and seen.mod_revision > fence.mod_revision:
                await self._lose(shard)

    def _wanted(self) -> set[int]:
        members = frozenset(s.value for s in self._member_cache.items.values()) | {self.pod}
        return {n for n in range(SHARDS) if owner_of(n, members) == self.pod}

    async def _take(self, shard: int, key: Key[str], lease: int) -> None:
        try:
            revision = await self.store.commit(Txn("take shard").create(key, self.pod, lease))
        except CompareFailed:
            return  # its last owner has not given it back yet: the cache will say when
        self.fences[shard] = Stored(key, self.pod, revision, revision, lease)
        await self._on_gain(shard)

    async def _give_back(self, shard: int) -> None:
        fence = self.fences[shard]
        await self._lose(shard)
        await self._return(shard, fence)

    async def _return(self, shard: int, key: Stored[str] | None) -> None:
        """Removes the key if it is ours; what fails is tried again, since nobody else can while our lease lives."""
        self._unreturned.discard(shard)
        if key is None or key.value != self.pod:
            return
        try:
            await self.store.commit(Txn("give shard").remove(key))
        except KilonovaError as error:
            log.info("shard not given back yet", shard=shard, reason=error.message)
            self._unreturned.add(shard)

    async def _lose(self, shard: int) -> None:
        if self.fences.pop(shard, None) is not None:
            await self._on_loss(shard)

    def _changed(self, _: Change[str]) -> None:
        self._dirty.set()
