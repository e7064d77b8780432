"""Work on lists of any length in slices, between which other tasks of the event loop get their turns.

Slices are counted in items, never timed: a simulation replays exactly.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from itertools import islice
from operator import itemgetter
from typing import Any, Final, TypeVar

T = TypeVar("T")

SLICE: Final = 100
"""Items of a few microseconds each: together they hold the loop for less than a millisecond."""


async def sliced(items: Iterable[T], size: int = SLICE) -> AsyncIterator[list[T]]:
    """The items in lists of `size`; other tasks run between two of them."""
    rest = iter(items)
    batch = list(islice(rest, size))
    while batch:
        yield batch
        following = list(islice(rest, size))
        if following:
            await asyncio.sleep(0)
        batch = following


async def kept(items: Iterable[T], test: Callable[[T], bool], size: int = SLICE) -> list[T]:
    """The items that pass the test, in their order."""
    found: list[T] = []
    async for batch in sliced(items, size):
        found += [item for item in batch if test(item)]
    return found


async def smallest(items: Iterable[T], key: Callable[[T], Any], limit: int) -> list[T]:
    """The `limit` items of the smallest keys, in the order of their keys."""
    best: list[tuple[Any, T]] = []
    async for batch in sliced(items):
        best += [(key(item), item) for item in batch]
        best.sort(key=itemgetter(0))
        del best[limit:]
    return [item for _, item in best]
