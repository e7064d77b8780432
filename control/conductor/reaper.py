"""Forgets deleted servers for good when they were kept for long enough: their last records and their histories."""

import asyncio
from collections.abc import Awaitable, Callable, Container
from datetime import date, timedelta
from typing import Final

import structlog

from kv.keys import Cell
from kv.store import Store
from kv.txn import Txn
from runtime import ambient
from schemas.errors import KilonovaError
from schemas.shards import shard_of

log = structlog.get_logger()

EVERY_SECONDS: Final = 3600.0
AT_ONCE: Final = 100
"""keys a transaction"""


Commit = Callable[[int, Txn], Awaitable[int]]
"""(shard, transaction): commits it under the fence of the shard's owner."""


class Reaper:
    """Each conductor reaps the servers of its own shards in its cell, a super conductor those of its own in cell0.
    `owned` are the shards, by number; `store` is asked for each time, since a mapping may change."""

    def __init__(self, store: Callable[[], Store], owned: Container[int], commit: Commit, days: int) -> None:
        self._store = store
        self._owned = owned
        self._commit = commit
        self._days = days

    async def run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            try:
                await self.reap(ambient.now().date())
            except KilonovaError as error:
                log.warning("deleted servers not reaped", reason=error.message)

    async def reap(self, today: date) -> int:
        """How many servers were forgotten."""
        last = (today - timedelta(days=self._days)).isoformat()
        store, reaped = self._store(), 0
        async for paths in store.path_pages(Cell.DELETED.between(start="", end=last)):
            for path in paths:
                reaped += await self._reap(store, path)
        return reaped

    async def _reap(self, store: Store, path: str) -> bool:
        _, day, uuid = path.split("/")
        shard = shard_of(uuid)
        if shard not in self._owned:
            return False
        actions = await store.range(Cell.ACTIONS.under(uuid, ""))
        for i in range(0, len(actions), AT_ONCE):
            txn = Txn("reap history")
            for stored in actions[i : i + AT_ONCE]:
                txn.delete(stored.key)
            await self._commit(shard, txn)
        txn = Txn("reap server").delete(Cell.DELETED(day, uuid))
        if kept := await store.get(Cell.DELETED(day, uuid)):
            txn.delete(Cell.DELETED_OF(day, kept.value.instance["project"], uuid))
        await self._commit(shard, txn)
        return True
