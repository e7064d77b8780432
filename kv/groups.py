"""Group commit: transactions that are waiting at the same time go to etcd as one, each nested in it.

Each nested transaction succeeds or fails by its own compares. etcd evaluates all of them on the state before the group,
so members must not write what another one writes or compares; what conflicts with a group under way waits for it. A
failed call reaches every member as an unknown outcome.
"""

import asyncio
from typing import Final
from weakref import WeakKeyDictionary

import grpc
from aetcd import rpc
from attrs import define, field

from kv.backend import Backend
from kv.company import Company
from kv.metrics import GROUP_SIZE
from kv.reads import GroupRead
from kv.txn import MAX_BYTES, MAX_OPERATIONS
from schemas.errors import UnknownOutcome

_REFUSED: Final = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}


@define(eq=False)
class _Member:
    request: rpc.TxnRequest
    writes: set[bytes]
    compares: set[bytes]
    bytes: int
    width: int
    """operations as etcd counts them"""
    answer: asyncio.Future[tuple[bool, int]] = field(factory=lambda: asyncio.get_running_loop().create_future())


@define(eq=False)
class _Group:
    members: list[_Member] = field(factory=list)
    writes: set[bytes] = field(factory=set)
    compares: set[bytes] = field(factory=set)
    bytes: int = 0
    width: int = 0

    def conflicts(self, member: _Member) -> bool:
        return not (
            self.writes.isdisjoint(member.writes)
            and self.writes.isdisjoint(member.compares)
            and self.compares.isdisjoint(member.writes)
        )

    def full_with(self, member: _Member) -> bool:
        # etcd counts the members plus the largest member
        operations = len(self.members) + 1 + max(self.width, member.width)
        return bool(self.members) and (operations > MAX_OPERATIONS or self.bytes + member.bytes > MAX_BYTES)

    def add(self, member: _Member) -> None:
        self.members.append(member)
        self.writes |= member.writes
        self.compares |= member.compares
        self.bytes += member.bytes
        self.width = max(self.width, member.width)


class GroupCommit(Company[_Member, _Group]):
    """One a cluster: stores that share an etcd share it."""

    async def commit(
        self, etcd: Backend, request: rpc.TxnRequest, compares: set[bytes], writes: set[bytes]
    ) -> tuple[bool, int]:
        """Whether the compares held and the operations were applied, and the revision. The keys are those of the
        request. Raises what the call raises."""
        width = max(len(compares), len(writes))
        member = _Member(request, writes, compares, request.ByteSize(), width)
        self._join(etcd, member)
        return await member.answer

    def _next_group(self) -> _Group | None:
        group, left = _Group(), []
        for member in self._waiting:
            if member.answer.cancelled():
                continue
            blocked = group.full_with(member) or group.conflicts(member)
            if blocked or any(other.conflicts(member) for other in self._under_way.values()):
                left.append(member)
            else:
                group.add(member)
        self._waiting = left
        return group if group.members else None

    async def _run(self, etcd: Backend, group: _Group) -> None:
        GROUP_SIZE.observe(len(group.members))
        try:
            if len(group.members) == 1:
                await _alone(etcd, group.members[0])
                return
            whole = rpc.TxnRequest()
            for member in group.members:
                whole.success.add().request_txn.CopyFrom(member.request)
            answer = await etcd.txn(whole, writes=True)
            for member, response in zip(group.members, answer.responses, strict=True):
                _resolve(member, response.response_txn.succeeded, answer.header.revision)
        except Exception as error:
            if len(group.members) > 1 and _was_refused(error):
                for member in group.members:  # nothing was applied: one of them is invalid, let each answer for itself
                    await _alone(etcd, member)
                return
            for member in group.members:
                _fail(member, error)
        finally:
            # gRPC ends the calls of a connection that is closed by cancelling them, which is no Exception.
            for member in group.members:
                if not member.answer.done():
                    _fail(member, UnknownOutcome("the connection to etcd was closed before it confirmed a write"))


async def _alone(etcd: Backend, member: _Member) -> None:
    try:
        answer = await etcd.txn(member.request, writes=True)
        _resolve(member, answer.succeeded, answer.header.revision)
    except Exception as error:
        _fail(member, error)


def _fail(member: _Member, error: Exception) -> None:
    if not member.answer.done():
        member.answer.set_exception(error)


def _resolve(member: _Member, succeeded: bool, revision: int) -> None:
    if not member.answer.done():
        member.answer.set_result((succeeded, int(revision)))


def _was_refused(error: Exception) -> bool:
    """etcd found the request invalid, or a lease in it gone, before it did anything."""
    cause = error.__cause__
    return isinstance(cause, grpc.aio.AioRpcError) and cause.code() in _REFUSED


_groups: Final[WeakKeyDictionary[Backend, tuple[GroupCommit, GroupRead]]] = WeakKeyDictionary()


def groups_of(etcd: Backend) -> tuple[GroupCommit, GroupRead]:
    """Those of this connection, which they do not hold: what is kept by it must not keep it."""
    found = _groups.get(etcd)
    if found is None:
        found = _groups[etcd] = GroupCommit(), GroupRead()
    return found
