"""Group read: reads of single keys that are asked for at the same time go to etcd as one transaction.

Each is as of one revision, not older than the moment it was asked for. At most two groups are under way; nothing waits
when there is little to do. A failed call reaches every reader of its group.
"""

import asyncio
from typing import Any, Final

from aetcd import rpc
from attrs import define, field

from kv.backend import Backend
from kv.metrics import READ_GROUP_SIZE
from kv.pace import Pace
from schemas.errors import StoreUnavailable

MAX_KEYS: Final = 128
"""etcd's default limit of operations in a transaction"""
MAX_GROUPS: Final = 2


@define(eq=False)
class _Reader:
    keys: list[bytes]
    found: asyncio.Future[list[Any]] = field(factory=lambda: asyncio.get_running_loop().create_future())
    """a KeyValue or None for each key"""


class GroupRead:
    """One an etcd connection."""

    def __init__(self) -> None:
        self._waiting: list[_Reader] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._pace = Pace()

    async def read(self, etcd: Backend, keys: list[bytes]) -> list[Any]:
        """The KeyValue or None of each of up to 128 keys. Raises StoreUnavailable."""
        reader = _Reader(keys)
        self._waiting.append(reader)
        loop = asyncio.get_running_loop()
        linger = self._pace.linger(loop.time(), met=len(self._waiting) > 1 or bool(self._under_way))
        if not self._scheduled and len(self._under_way) < MAX_GROUPS:
            self._scheduled = True
            loop.call_later(linger, self._flush, etcd) if linger else loop.call_soon(self._flush, etcd)
        return await reader.found

    def _flush(self, etcd: Backend) -> None:
        self._scheduled = False
        while self._waiting and len(self._under_way) < MAX_GROUPS:
            group = self._next_group()
            if not group:
                return
            task = asyncio.create_task(_run(etcd, group), name="group read")
            self._under_way.add(task)
            task.add_done_callback(lambda ended: self._ended(etcd, ended))

    def _next_group(self) -> list[_Reader]:
        group: list[_Reader] = []
        count = 0
        while self._waiting:
            reader = self._waiting[0]
            if reader.found.cancelled():
                self._waiting.pop(0)
                continue
            if group and count + len(reader.keys) > MAX_KEYS:
                break
            group.append(self._waiting.pop(0))
            count += len(reader.keys)
        return group

    def _ended(self, etcd: Backend, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not self._scheduled:
            self._flush(etcd)


async def _run(etcd: Backend, group: list[_Reader]) -> None:
    READ_GROUP_SIZE.observe(len(group))
    keys = [key for reader in group for key in reader.keys]
    try:
        found = await _found(etcd, keys)
        for reader in group:
            if not reader.found.done():
                reader.found.set_result(found[: len(reader.keys)])
            found = found[len(reader.keys) :]
    except Exception as error:
        _fail(group, error)
    finally:
        # gRPC ends the calls of a connection that is closed by cancelling them, which is no Exception.
        _fail(group, StoreUnavailable("the connection to etcd was closed before it answered a read"))


async def _found(etcd: Backend, keys: list[bytes]) -> list[Any]:
    if len(keys) == 1:
        alone = await etcd.range(rpc.RangeRequest(key=keys[0]))
        return [alone.kvs[0] if alone.kvs else None]
    ops = [rpc.RequestOp(request_range=rpc.RangeRequest(key=key)) for key in keys]
    answer = await etcd.txn(rpc.TxnRequest(success=ops), writes=False)
    return [r.response_range.kvs[0] if r.response_range.kvs else None for r in answer.responses]


def _fail(group: list[_Reader], error: Exception) -> None:
    for reader in group:
        if not reader.found.done():
            reader.found.set_exception(error)
