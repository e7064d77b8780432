"""Group read: reads of single keys that are asked for at the same time go to etcd as one transaction.

Each is as of one revision, not older than the moment it was asked for. A failed call reaches every reader of its group.
"""

from typing import Any, Final

from aetcd import rpc
from attrs import define

from kv.backend import Backend
from kv.company import Company, Group, Member
from kv.metrics import READ_GROUP_SIZE
from schemas.errors import StoreUnavailable

MAX_KEYS: Final = 128
"""etcd's default limit of operations in a transaction"""


@define(eq=False)
class _Reader(Member[list[Any]]):
    """Its answer: a KeyValue or None for each key."""

    keys: list[bytes]


class GroupRead(Company[_Reader, Group[_Reader]]):
    """One an etcd connection."""

    async def read(self, etcd: Backend, keys: list[bytes]) -> list[Any]:
        """The KeyValue or None of each of up to 128 keys. Raises StoreUnavailable within the time of a call,
        StoreOverloaded at once."""
        reader = _Reader(keys)
        self._join(etcd, reader)
        return await reader.answer

    def _next_group(self) -> Group[_Reader] | None:
        group: Group[_Reader] = Group()
        taken = count = 0
        for reader in self._waiting:
            if not reader.answer.done():
                if group.members and count + len(reader.keys) > MAX_KEYS:
                    break
                group.members.append(reader)
                count += len(reader.keys)
            taken += 1
        del self._waiting[:taken]
        return group if group.members else None

    def _expired(self, target: str, *, sent: bool) -> Exception:
        return StoreUnavailable(f"etcd at {target} did not answer a read in time{'' if sent else ', which waited'}")

    async def _run(self, etcd: Backend, group: Group[_Reader]) -> None:
        READ_GROUP_SIZE.observe(len(group.members))
        keys = [key for reader in group.members for key in reader.keys]
        try:
            found = await _found(etcd, keys)
            first = 0
            for reader in group.members:
                after = first + len(reader.keys)
                reader.resolve(found[first:after])
                first = after
        except Exception as error:
            _fail(group, error)
        finally:
            # gRPC ends the calls of a connection that is closed by cancelling them, which is no Exception.
            _fail(group, StoreUnavailable("the connection to etcd was closed before it answered a read"))


async def _found(etcd: Backend, keys: list[bytes]) -> list[Any]:
    if len(keys) == 1:
        alone = await etcd.range(rpc.RangeRequest(key=keys[0]))
        return [alone.kvs[0] if alone.kvs else None]
    request = rpc.TxnRequest()
    for key in keys:
        request.success.add().request_range.key = key
    answer = await etcd.txn(request, writes=False)
    return [r.response_range.kvs[0] if r.response_range.kvs else None for r in answer.responses]


def _fail(group: Group[_Reader], error: Exception) -> None:
    for reader in group.members:
        reader.fail(error)
