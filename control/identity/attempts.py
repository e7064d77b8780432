"""Failed log-ins of the last minutes, in the memory of this process: the next one has to wait, longer each time.

Counted by source and account together, by account and by source. A source from which an account logged in before is not
held up by what others do with that account, nor by what the source does with other accounts.
"""

from collections import OrderedDict
from typing import Final

from attrs import define, field, frozen

from schemas.errors import TooManyRequests

REMEMBERED: Final = 20_000
"""entries of each table; the one unused for longest goes first"""


@frozen
class Backoff:
    """After `free` failures each further one is followed by a pause, the first of a second, doubled up to `longest`."""

    free: int
    longest: float
    forgotten: float = 600.0
    """seconds without a failure after which all is forgotten"""

    def pause(self, failures: int) -> float:
        over = failures - self.free
        return min(self.longest, 2.0 ** min(over, 16)) if over >= 0 else 0.0


PAIR: Final = Backoff(free=10, longest=60.0)
ACCOUNT: Final = Backoff(free=50, longest=8.0)
SOURCE: Final = Backoff(free=100, longest=4.0)


@define
class _Failures:
    count: int = 0
    last: float = 0.0


class _Table:
    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._entries: OrderedDict[tuple[str, str], _Failures] = OrderedDict()

    def left(self, key: tuple[str, str], now: float) -> float:
        """Seconds of the pause that are left."""
        found = self._entries.get(key)
        if found is None:
            return 0.0
        return found.last + self._backoff.pause(found.count) - now

    def add(self, key: tuple[str, str], now: float) -> None:
        found = self._entries.setdefault(key, _Failures())
        if now - found.last > self._backoff.forgotten:
            found.count = 0
        found.count += 1
        found.last = now
        self._entries.move_to_end(key)
        if len(self._entries) > REMEMBERED:
            self._entries.popitem(last=False)

    def forget(self, key: tuple[str, str]) -> None:
        self._entries.pop(key, None)


@define(eq=False)
class Attempts:
    """Times are of a monotonic clock, in seconds."""

    _pairs: _Table = field(factory=lambda: _Table(PAIR))
    _accounts: _Table = field(factory=lambda: _Table(ACCOUNT))
    _sources: _Table = field(factory=lambda: _Table(SOURCE))
    _known: OrderedDict[tuple[str, str], None] = field(factory=OrderedDict)
    """pairs of source and account that have logged in"""

    def require_allowed(self, source: str, account: str, now: float) -> None:
        """Raises TooManyRequests while a pause lasts."""
        left = self._pairs.left((source, account), now)
        if (source, account) not in self._known:
            left = max(left, self._accounts.left(("", account), now), self._sources.left((source, ""), now))
        if left > 0:
            raise TooManyRequests("Too many failed log-ins: try again later.", left)

    def failed(self, source: str, account: str, now: float) -> None:
        self._pairs.add((source, account), now)
        self._accounts.add(("", account), now)
        self._sources.add((source, ""), now)

    def succeeded(self, source: str, account: str) -> None:
        self._pairs.forget((source, account))
        self._known[source, account] = None
        self._known.move_to_end((source, account))
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
