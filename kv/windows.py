"""Pages of time-ordered keys, newest first, by bounded windows.

A range with a limit costs etcd all keys in the range, so a page is read by narrow spans of time from its end. How wide
a window has to be is learnt from what the last one held, per prefix and process.
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

_widths: dict[str, int] = {}


async def newest(store: Store, span: Span[R], limit: int, now_us: int, before: str | None = None) -> list[Stored[R]]:
    """Up to `limit` records of the span from its end, or from before the path `before`, in descending order."""
    prefix = store.prefix + span.start
    width = _widths.get(prefix, FIRST)
    end = before or span.end
    end_us = int(before[len(span.start) : len(span.start) + DIGITS]) if before else now_us
    found: list[Stored[R]] = []
    while True:
        start_us = max(0, end_us - width)
        start = f"{span.start}{start_us:0{DIGITS}d}" if start_us else span.start
        lines, total = await store.window(Span(start, end, span.cls), limit - len(found))
        found += lines
        _widths[prefix] = fitting(width, total, limit)
        if len(found) >= limit or total > len(lines) or not start_us:
            return found
        end, end_us, width = start, start_us, min(LONGEST, width * GROWTH)


def fitting(width: int, total: int, limit: int) -> int:
    """The width that would have held twice the page, as far as one window tells."""
    ideal = width * 2 * limit // total if total else width * GROWTH
    return max(SHORTEST, min(LONGEST, ideal))
