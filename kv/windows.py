"""Pages of time-ordered keys, newest first, by bounded windows.

A range with a limit costs etcd all keys in the range, so a page is read by narrow spans of time from its end. How wide
a window has to be, and where the newest key was, is learnt per prefix and process; a window of which nothing is known
is counted before it is read, which costs a tenth.
"""

from typing import Final, TypeVar

from kv.keys import Span
from kv.store import Store
from kv.txn import Stored

R = TypeVar("R")

DIGITS: Final = 16
"""of the microseconds that each key begins with after the span's prefix"""
FIRST: Final = 3_600_000_000
"""microseconds of the first window of an unknown prefix"""
SHORTEST: Final = 1_000
LONGEST: Final = 100 * 365 * 86_400_000_000
GROWTH: Final = 8
"""from one thin window to the next"""
RECENT: Final = 5_000_000
"""microseconds in which not too many keys can have come to be read"""
TOO_MANY: Final = 4
"""pages that a window may hold and still be read"""

_widths: dict[str, int] = {}
_looked: dict[str, tuple[int, int]] = {}
"""microseconds of the newest key that was seen, and of when"""


def forget() -> None:
    """What was learnt of every prefix: for tests and simulations, in which one process is many after another."""
    _widths.clear()
    _looked.clear()


async def newest(store: Store, span: Span[R], limit: int, now_us: int, before: str | None = None) -> list[Stored[R]]:
    """Up to `limit` records of the span from its end, or from before the path `before`, in descending order."""
    prefix = store.prefix + span.start
    end, end_us = (before, _time_of(span, before)) if before else (span.end, now_us)
    found: list[Stored[R]] = []
    width, sure = _widths.get(prefix, FIRST), prefix in _widths
    last, looked = _looked.get(prefix, (end_us, 0))
    if before is None and end_us - last > width:  # after the newest key lies only what came since
        start_us = last + 1
        if now_us - looked > RECENT:
            start_us = await _narrowed(store, span, start_us, end_us, end, limit)
        gap = _from(span, start_us, end)
        found, _ = await store.window(gap, limit)
        end, end_us = gap.start, start_us
    while len(found) < limit and end_us:
        start_us = max(0, end_us - width)
        if not sure:
            start_us = await _narrowed(store, span, start_us, end_us, end, limit)
        window = _from(span, start_us, end)
        lines, total = await store.window(window, limit - len(found))
        found += lines
        sure = bool(total)
        width = fitting(end_us - start_us, total, limit) if sure else min(LONGEST, width * GROWTH)
        if sure:
            _widths[prefix] = width
        end, end_us = window.start, start_us
    if found and before is None:
        _looked[prefix] = _time_of(span, found[0].key.path), now_us
    return found


async def _narrowed(store: Store, span: Span[R], start_us: int, end_us: int, end: str, limit: int) -> int:
    """A start not before `start_us`, from which on the keys are not too many to be read."""
    while True:
        count = await store.count(_from(span, start_us, end))
        if count <= TOO_MANY * limit or end_us - start_us <= SHORTEST:
            return start_us
        start_us = end_us - max(SHORTEST, (end_us - start_us) * 2 * limit // count)


def _from(span: Span[R], start_us: int, end: str) -> Span[R]:
    return Span(f"{span.start}{start_us:0{DIGITS}d}" if start_us else span.start, end, span.cls)


def _time_of(span: Span[R], path: str) -> int:
    return int(path[len(span.start) : len(span.start) + DIGITS])


def fitting(width: int, total: int, limit: int) -> int:
    """The width that would have held half as much again as the page, as far as one window tells."""
    return max(SHORTEST, min(LONGEST, width * 3 * limit // (2 * total)))
