"""Which of a store's 64 shards this process owns.

Every member keeps `members/{pod}` under a lease. Each shard belongs to the member that rendezvous hashing names; the
key `leases/{shard}`, under the same lease, makes that exclusive, and its mod-revision is the *fence* that every
transaction of the owner compares. A member that joins, leaves or dies moves only the shards that it gains or had.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import blake2b
from typing import Final

import structlog

from kv.backend import is_lease_gone
from kv.cache import Cache, Change
from kv.keys import Cell, Family, Global, Key
from kv.leases import KeepAlive
from kv.metrics import SHARD_FAILURES
from kv.store import Store
from kv.txn import Stored, Txn
from schemas.errors import CompareFailed, KilonovaError, StoreUnavailable, UnknownOutcome
from schemas.shards import SHARDS

log = structlog.get_logger()

SHORTEST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 10.0
"""between attempts to start a shard, in seconds"""


class LeaseGone(StoreUnavailable):
    pass


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
        self._returned: dict[int, int] = {}
        """mod-revisions at which shards were given back: what the watch may still tell of"""
        self._failures: dict[int, tuple[int, float]] = {}
        """shards that could not be started: how many times, and when the next try is due in the loop's time"""
        self._joined = 0
        """the revision of the member's key"""
        self._expires = 0.0
        """of the member's lease, in the loop's time"""
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
            if current is None or current.value != self.pod or current.lease != held.lease:
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
        lease = 0
        while True:
            try:
                if lease:
                    await self._revoke(lease)
                began = asyncio.get_running_loop().time()
                lease = await self.store.etcd.grant(self._ttl)
                self._expires = began + self._ttl
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
            await self._revoke(lease)
        except StoreUnavailable as error:
            log.info("lease left to run out", reason=error.message)

    async def _revoke(self, lease: int) -> None:
        """Ends an earlier lease with all keys under it, which nobody could take before it runs out. A late write under
        it is refused from then on."""
        try:
            await self.store.etcd.revoke(lease)
        except StoreUnavailable as error:
            if not is_lease_gone(error):
                raise

    async def _join(self, lease: int) -> None:
        """Compares what it replaces: a late write of an earlier lease would take the key with it when that runs out."""
        key = self._members(self.pod)
        current = await self.store.get(key)
        self._joined = await self.store.commit(
            Txn("join").at(key, current.mod_revision if current else 0).put(key, self.pod, lease)
        )

    async def _hold(self, lease: int) -> None:
        """Renews the lease and takes or gives shards until the lease is gone; neither waits for the other."""
        tasks = [
            asyncio.create_task(self._keep(lease), name="shards' lease"),
            asyncio.create_task(self._serve(lease), name="shards' owners"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _keep(self, lease: int) -> None:
        """A renewal is due after a quarter of the lease's time and may take as long, so that three of them, each at the
        next member, fit into what is left. Raises StoreUnavailable when the lease is gone."""
        clock, quarter = asyncio.get_running_loop().time, self._ttl / 4
        while True:
            sent = clock()
            try:
                left = await self._keepalive.renew(lease, quarter)
                if left <= 0:
                    raise LeaseGone("the member's lease ran out")
                self._expires = sent + left
            except LeaseGone:
                raise
            except StoreUnavailable:
                if clock() >= self._expires:
                    raise
                await asyncio.sleep(min(0.05, quarter))
                continue
            await asyncio.sleep(max(0.05, sent + quarter - clock()))

    async def _serve(self, lease: int) -> None:
        await self._join(lease)
        await self._member_cache.synced.wait()
        await self._lease_cache.synced.wait()
        while True:
            self._dirty.clear()
            try:
                await self._settle(lease)
            except KilonovaError as error:  # what is left to do is done when etcd answers again
                log.info("shards not settled yet", reason=error.message)
                await asyncio.sleep(0.1)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._ttl / 3):
                    await self._dirty.wait()

    async def _settle(self, lease: int) -> None:
        await self._check_member(lease)
        await self._check_fences()
        wanted = self._wanted()
        for shard in sorted(self.fences.keys() - wanted):
            await self._give_back(shard)
        for shard in range(SHARDS):
            await self._return_unowned(shard, lease)
        for shard in sorted(wanted - self.fences.keys()):
            key = self._leases(shard)
            if key.path not in self._lease_cache.items and self._is_due(shard):
                await self._take(shard, key, lease)

    async def _check_member(self, lease: int) -> None:
        """The others see us by this key alone."""
        seen = self._member_cache.items.get(self._members(self.pod).path)
        if (seen is None or seen.lease != lease) and self._member_cache.revision >= self._joined:
            log.warning("member's key is gone; it joins again")
            with suppress(CompareFailed):
                await self._join(lease)

    async def _check_fences(self) -> None:
        """A shard whose key is another's, or gone, is lost: nothing could be committed for it, and nobody else would
        take it as long as we are its owner by name."""
        for shard, fence in list(self.fences.items()):
            seen = self._lease_cache.items.get(fence.key.path)
            if seen is None:
                lost = self._lease_cache.revision >= fence.mod_revision
            else:
                lost = seen.mod_revision > fence.mod_revision and (seen.value != self.pod or seen.lease != fence.lease)
            if lost and self.fences.get(shard) is fence:
                log.warning("shard lost", shard=shard, reason="its key is gone" if seen is None else "taken over")
                await self._lose(shard)

    async def _return_unowned(self, shard: int, lease: int) -> None:
        """A key under our lease without a fence is left from a take or a return whose outcome was not known. Whether we
        own the shard is asked just before its key is removed, and only as it was seen."""
        seen = self._lease_cache.items.get(self._leases(shard).path)
        if shard in self.fences or seen is None or seen.value != self.pod or seen.lease != lease:
            return
        if seen.mod_revision > self._returned.get(shard, 0):
            await self._return(shard, seen)

    def _is_due(self, shard: int) -> bool:
        return asyncio.get_running_loop().time() >= self._failures.get(shard, (0, 0.0))[1]

    def _wanted(self) -> set[int]:
        members = frozenset(s.value for s in self._member_cache.items.values()) | {self.pod}
        return {n for n in range(SHARDS) if owner_of(n, members) == self.pod}

    async def _take(self, shard: int, key: Key[str], lease: int) -> None:
        """A shard that cannot be started is given back alone, and tried again later."""
        try:
            revision = await self.store.commit(Txn("take shard").create(key, self.pod, lease))
        except CompareFailed:
            return  # its last owner has not given it back yet: the cache will say when
        self.fences[shard] = Stored(key, self.pod, revision, revision, lease)
        try:
            await self._on_gain(shard)
        except Exception as error:
            times = self._failures.get(shard, (0, 0.0))[0] + 1
            pause = min(LONGEST_PAUSE, SHORTEST_PAUSE * 2 ** (times - 1))
            self._failures[shard] = times, asyncio.get_running_loop().time() + pause
            SHARD_FAILURES.inc()
            log.error("shard not started", shard=shard, reason=str(error), kind=type(error).__name__, again_in=pause)
            await self._give_back(shard)
        else:
            self._failures.pop(shard, None)

    async def _give_back(self, shard: int) -> None:
        fence = self.fences.get(shard)
        if fence is not None:
            await self._lose(shard)
            await self._return(shard, fence)

    async def _return(self, shard: int, key: Stored[str]) -> None:
        """Removes our key; what fails is tried again, since nobody else can while our lease lives."""
        try:
            await self.store.commit(Txn("give shard").remove(key))
        except KilonovaError as error:
            log.info("shard not given back yet", shard=shard, reason=error.message)
        else:
            self._returned[shard] = key.mod_revision

    async def _lose(self, shard: int) -> None:
        if self.fences.pop(shard, None) is not None:
            try:
                await self._on_loss(shard)
            except KilonovaError as error:
                log.warning("shard not stopped cleanly", shard=shard, reason=error.message)

    def _changed(self, _: Change[str]) -> None:
        self._dirty.set()
