"""Guarded writes of a writer without a lease: lost races are decided again, unknown outcomes are settled."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from kv.store import Store
from kv.txn import Stored, Txn
from schemas.errors import CompareFailed, StoreUnavailable, UnknownOutcome

R = TypeVar("R")

ATTEMPTS: Final = 10
SETTLE_SECONDS: Final = 5.0
"""How long an unknown outcome is asked for: the caller is told then that it is not known."""


async def commit_settled(store: Store, txn: Txn, pivot: Stored[Any], applied: Callable[[], Awaitable[bool]]) -> None:
    """Commits; when the outcome is unknown, first makes the write impossible by rewriting `pivot`, a record that it
    compares and rewrites, then asks `applied`. A pivot of mod-revision 0 is one that the write creates: it is created
    with the pivot's value, the one that a missing record stands for, since a late write would still find it missing.

    Raises CompareFailed when it was not and will not be applied.
    """
    try:
        await store.commit(txn)
        return
    except UnknownOutcome:
        pass
    until = asyncio.get_running_loop().time() + SETTLE_SECONDS
    for attempt in range(ATTEMPTS):
        try:
            current = await store.get(pivot.key)
            if current is None and not pivot.mod_revision:
                await store.commit(Txn("settle").create(pivot.key, pivot.value))
            elif current is not None and current.mod_revision == pivot.mod_revision:
                await store.commit(Txn("settle").replace(current, current.value))
            if await applied():
                return
            raise CompareFailed(f"{txn.purpose}: not applied")
        except CompareFailed:
            if await applied():
                return
            raise
        except StoreUnavailable:
            if asyncio.get_running_loop().time() >= until:
                break
            await asyncio.sleep(0.1 * 2 ** min(attempt, 4))
    raise StoreUnavailable(f"{txn.purpose}: the store did not say whether it was done; look again before repeating it")


async def retried(once: Callable[[], Awaitable[R]]) -> R:
    """Runs `once`, which reads and commits, again on fresh state while it loses races."""
    for attempt in range(ATTEMPTS):
        try:
            return await once()
        except CompareFailed:
            if attempt == ATTEMPTS - 1:
                raise
            await asyncio.sleep(0.002 * 2**attempt)
    raise AssertionError("unreachable")
