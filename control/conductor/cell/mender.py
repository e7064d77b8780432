"""Brings servers to rest that say an operation is at work on them when there is none: a hand in etcd, or a fault of an
earlier release, has taken it. The API refuses every action on such a server, and nothing else would ever end it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Container
from datetime import datetime
from typing import Final

import structlog
from attrs import evolve

from kv.keys import Cell
from kv.store import Store
from kv.txn import Stored, Txn
from runtime import ambient
from schemas.errors import CompareFailed, KilonovaError
from schemas.server import Fault, Instance
from schemas.shards import shard_of

log = structlog.get_logger()

EVERY_SECONDS: Final = 300.0

Commit = Callable[[int, Txn], Awaitable[int]]
"""(shard, transaction): commits it under the fence of the shard's owner."""


def at_rest(server: Instance, now: datetime) -> Instance:
    """The server without its operation: one that was being built is in error, any other rests as it was, and its next
    inventory says what its guest does."""
    text = f"The server was {server.task_state}, and no operation was at work on it"
    vm_state = "error" if server.vm_state == "building" else server.vm_state
    fault = Fault(500, f"{text}. Try again, or delete it", now)
    return evolve(server, vm_state=vm_state, task_state=None, updated=now, fault=fault)


class Mender:
    """Each conductor looks after the servers of its own shards. What is wrong twice in a row, unchanged, is mended."""

    def __init__(self, store: Store, owned: Container[int], commit: Commit) -> None:
        self._store = store
        self._owned = owned
        self._commit = commit
        self._suspects: dict[str, int] = {}
        """mod-revisions of servers without their operation, by path"""

    async def run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_SECONDS * (0.9 + ambient.chance() * 0.2))
            try:
                await self.mend()
            except KilonovaError as error:
                log.warning("servers not looked after", reason=error.message)

    async def mend(self) -> int:
        """How many servers were brought to rest."""
        suspects: dict[str, int] = {}
        mended = 0
        async for page in self._store.pages(Cell.INSTANCES.under()):
            for stored in page:
                server = stored.value
                if server.task_state is None or shard_of(server.uuid) not in self._owned:
                    continue
                if await self._store.get(Cell.OPERATIONS(shard_of(server.uuid), server.uuid)) is not None:
                    continue
                if self._suspects.get(stored.key.path) == stored.mod_revision:
                    mended += await self._mend(stored)
                else:
                    suspects[stored.key.path] = stored.mod_revision
        self._suspects = suspects
        return mended

    async def _mend(self, stored: Stored[Instance]) -> bool:
        server = stored.value
        shard = shard_of(server.uuid)
        txn = Txn("mend server").replace(stored, at_rest(server, ambient.now()))
        try:
            await self._commit(shard, txn.absent(Cell.OPERATIONS(shard, server.uuid)))
        except CompareFailed:
            return False  # something is at work on it
        log.warning("server without its operation brought to rest", instance=server.uuid, task_state=server.task_state)
        return True
