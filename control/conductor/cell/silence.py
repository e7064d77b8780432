"""When a host that is not heard of may be held for down: a lease and a margin after which it runs nothing that was not
acknowledged, and only if this process could itself hear and renew all that time. Pure: times come in.
"""

from collections import deque
from typing import Final

from attrs import define, field

RENEWAL: Final = 1 / 6
"""of a lease's time, after which the next heartbeat renews it"""
RESERVE: Final = 1 / 6
"""of a lease's time, that a grant ends before the lease"""
MARGIN: Final = 1 / 3
"""of a lease's time, that a host has after the end of its lease to stop what it may not run"""
CROWD: Final = 3
"""hosts that must fall silent together before the fault is looked for here"""


def granted(ttl: float) -> float:
    """Seconds that the answer to a heartbeat grants a host whose lease was renewed at most `RENEWAL` ago. Counted from
    when the heartbeat was sent, they end before the lease does."""
    return ttl * (1 - RENEWAL - RESERVE)


@define
class Silence:
    """Of all hosts of a cell, in seconds of one monotonic clock; `ttl` is that of a host's lease.

    What proves that this process was not able to hear, or to renew, starts the count again for all hosts: a lost watch
    or bus, a failed renewal, a lost lease of its own, a pause of the process, or most hosts falling silent together.
    """

    ttl: float
    able_since: float | None = None
    _gone: dict[str, float] = field(factory=dict)
    """since when hosts have no lease"""
    _lately: deque[float] = field(factory=deque)
    """when hosts lost their leases, within the last half of a lease"""

    def unable(self, now: float) -> None:
        self.able_since = now

    def came(self, host: str) -> None:
        self._gone.pop(host, None)

    def went(self, host: str, now: float, alive: int) -> bool:
        """Its lease is gone; `alive` others have one. True: too many at once for it to be their fault."""
        self._gone[host] = now
        self._lately.append(now)
        while self._lately[0] < now - self.ttl / 2:
            self._lately.popleft()
        crowd = len(self._lately) >= CROWD and len(self._lately) > alive
        if crowd:
            self.unable(now)
        return crowd

    def is_down(self, host: str, now: float) -> bool:
        """Of a host that has no lease."""
        if self.able_since is None or now - self.able_since <= self.ttl * (1 + MARGIN):
            return False
        return now - self._gone.get(host, self.able_since) > self.ttl * MARGIN
