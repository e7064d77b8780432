"""What tenants may write into the store: so much at a time, and not into the reserve."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import structlog
from attrs import define, field

from kv.maintenance import Maintenance
from schemas.errors import StoreUnavailable, TooManyRequests, Unavailable
from schemas.settings import ApiSettings, StoreSettings

log = structlog.get_logger()

REMEMBERED: Final = 20_000
"""tenants whose bucket is kept; the one unused for longest goes first"""
POLL_SECONDS: Final = 5.0


@define
class _Bucket:
    tokens: float
    at: float


@define(eq=False)
class WriteRate:
    """A token bucket a tenant, in this process: `burst` writes at once, `rate` a second from then on. 0: any number."""

    rate: float
    burst: float
    clock: Callable[[], float] = time.monotonic
    _buckets: OrderedDict[str, _Bucket] = field(factory=OrderedDict)

    def take(self, tenant: str) -> None:
        """Raises TooManyRequests, with the seconds until there is another token."""
        if not self.rate:
            return
        now = self.clock()
        bucket = self._buckets.setdefault(tenant, _Bucket(self.burst, now))
        self._buckets.move_to_end(tenant)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        bucket.tokens = min(self.burst, bucket.tokens + (now - bucket.at) * self.rate)
        bucket.at = now
        if bucket.tokens < 1:
            left = (1 - bucket.tokens) / self.rate
            raise TooManyRequests(f"More than {self.rate:g} changes a second: try again in {max(1, left):.0f} s.", left)
        bucket.tokens -= 1


@define(eq=False)
class Reserve:
    """Looks at the size of etcd's database, at most once in `POLL_SECONDS`, when a tenant wants to write."""

    store: StoreSettings
    quota: int
    """bytes: etcd's --quota-backend-bytes"""
    share: float
    """of the quota that tenants cannot use"""
    _size: int = 0
    _looked: float = float("-inf")
    _lock: asyncio.Lock = field(factory=asyncio.Lock)

    async def require_room(self) -> None:
        """Raises Unavailable when the rest is for deletes, operators and operations under way."""
        if self.quota and await self._size_now() > self.quota * (1 - self.share):
            raise Unavailable(
                f"The store is {self._size * 100 // self.quota} % full; the rest is kept for deletes and operators. "
                "Delete what is not needed; an operator types: kilonova etcd defrag --compact"
            )

    async def _size_now(self) -> int:
        async with self._lock:
            if time.monotonic() - self._looked > POLL_SECONDS:
                self._looked = time.monotonic()
                try:
                    self._size = max(member.size for member in await Maintenance(self.store).members())
                except StoreUnavailable as error:
                    log.warning("size of the store is not known", reason=error.message)
        return self._size


@define(eq=False)
class TenantWrites:
    """One a process."""

    rate: WriteRate
    reserve: Reserve

    @classmethod
    def at(cls, store: StoreSettings, api: ApiSettings) -> "TenantWrites":
        reserve = Reserve(store, int(api.store_quota_gb * (1 << 30)), api.store_reserve)
        return cls(WriteRate(api.writes_per_second, api.writes_burst), reserve)

    async def require(self, tenant: str, *, is_admin: bool) -> None:
        """Before something of a tenant is created or grows. Administrators are free. Raises TooManyRequests or
        Unavailable."""
        if not is_admin:
            self.rate.take(tenant)
            await self.reserve.require_room()
