"""Leases and the keys that hang on them. The time comes in as an argument, in seconds."""

from heapq import heappop, heappush
from typing import Final

from attrs import define, field

from kv.twin.refusals import LEASE_NOT_FOUND, TTL_TOO_LARGE, refused

MIN_TTL: Final = 2
"""what etcd grants at least with its default election time-out"""
MAX_TTL: Final = 9_000_000_000


@define(eq=False)
class Lease:
    id: int
    ttl: int
    expires: float
    keys: set[bytes] = field(factory=set)


class Leases:
    def __init__(self) -> None:
        self._leases: dict[int, Lease] = {}
        self._last_id = 1 << 40
        self._expiries: list[tuple[float, int]] = []
        """a heap; an entry may be out of date, since renewing does not touch it"""

    def __contains__(self, lease: int) -> bool:
        return lease in self._leases

    def grant(self, ttl: int, now: float) -> Lease:
        """At least MIN_TTL seconds."""
        if ttl > MAX_TTL:
            raise refused(TTL_TOO_LARGE)
        self._last_id += 1
        lease = Lease(self._last_id, max(ttl, MIN_TTL), now + max(ttl, MIN_TTL))
        self._leases[lease.id] = lease
        heappush(self._expiries, (lease.expires, lease.id))
        return lease

    def renew(self, lease: int, now: float) -> int:
        """The seconds that it has now; 0: there is none."""
        found = self._leases.get(lease)
        if found is None:
            return 0
        found.expires = now + found.ttl
        return found.ttl

    def renew_all(self, now: float) -> None:
        for lease in self._leases:
            self.renew(lease, now)

    def remove(self, lease: int) -> list[bytes]:
        """The keys that hung on it, in order."""
        found = self._leases.pop(lease, None)
        if found is None:
            raise refused(LEASE_NOT_FOUND)
        return sorted(found.keys)

    def move(self, key: bytes, before: int, after: int) -> None:
        """The key hung on the lease `before` and hangs on `after` now; 0: none."""
        if before in self._leases:
            self._leases[before].keys.discard(key)
        if after:
            self._leases[after].keys.add(key)

    def next_expiry(self) -> float | None:
        """When to look at `due`: at or before the first lease's end."""
        while self._expiries:
            when, lease = self._expiries[0]
            found = self._leases.get(lease)
            if found is not None and found.expires == when:
                return when
            heappop(self._expiries)
            if found is not None:
                heappush(self._expiries, (found.expires, lease))
        return None

    def due(self, now: float) -> int | None:
        """A lease that has ended and was not removed yet."""
        when = self.next_expiry()
        return self._expiries[0][1] if when is not None and when <= now else None
