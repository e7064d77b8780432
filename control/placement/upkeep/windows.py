"""Windows of the servers' ids: all that begin with the same two hexadecimal digits.

Each window belongs to a shard, so that every super conductor reads a part of the site and nothing needs all keys. A
window of a site with a million servers holds four thousand.
"""

from collections.abc import AsyncIterator
from typing import Final, TypeVar

from kv.keys import Family, Span
from kv.store import Store
from schemas.shards import SHARDS

R = TypeVar("R")

WINDOWS: Final = 256


def shard_of_window(window: int) -> int:
    """Whose owner looks after it."""
    return window % SHARDS


def window_of(family: Family[R], window: int) -> Span[R]:
    """The records of a family whose one part is an id. The first and the last window hold what is no id as well."""
    start = f"{window:02x}" if window else ""
    return family.between(start=start, end=f"{window + 1:02x}" if window + 1 < WINDOWS else None)


async def ids_of(store: Store, family: Family[R], window: int) -> AsyncIterator[list[str]]:
    """The ids of a window, in pages."""
    async for paths in store.path_pages(window_of(family, window)):
        yield [path.rsplit("/", 1)[1] for path in paths]
