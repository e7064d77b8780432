"""Group commit: transactions that are waiting at the same time go to etcd as one, each nested in it.

Each nested transaction succeeds or fails by its own compares. etcd evaluates all of them on the state before the group,
so members must not write what another one writes or compares; what conflicts with a group under way waits for it. What
etcd refuses as a whole is asked for one by one; another failure reaches every member as an unknown outcome.
"""

import asyncio
from typing import Final
from weakref import WeakKeyDictionary

from aetcd import rpc
from attrs import define, field

from kv.backend import Backend, was_refused
from kv.company import Company, Group, Member
from kv.metrics import GROUP_SIZE
from kv.reads import GroupRead
from kv.txn import MAX_BYTES, MAX_OPERATIONS
from schemas.errors import StoreUnavailable, UnknownOutcome


@define(eq=False)
class _Commit(Member[tuple[bool, int]]):
    """Its answer: whether the compares held, and the revision."""

    request: rpc.TxnRequest
    writes: set[bytes]
    compares: set[bytes]
    width: int
    """operations as etcd counts them"""


@define(eq=False)
class _Group(Group[_Commit]):
    writes: set[bytes] = field(factory=set)
    compares: set[bytes] = field(factory=set)
    bytes: int = 0
    width: int = 0

    def conflicts(self, member: _Commit) -> bool:
        return not (
            self.writes.isdisjoint(member.writes)
            and self.writes.isdisjoint(member.compares)
            and self.compares.isdisjoint(member.writes)
        )

    def full_with(self, width: int, size: int) -> bool:
        # etcd counts the members plus the largest member
        operations = len(self.members) + 1 + max(self.width, width)
        return bool(self.members) and (operations > MAX_OPERATIONS or self.bytes + size > MAX_BYTES)

    def add(self, member: _Commit) -> None:
        self.members.append(member)
        self.writes |= member.writes
        self.compares |= member.compares
        self.bytes += member.bytes
        self.width = max(self.width, member.width)

    def request(self) -> rpc.TxnRequest:
        whole = rpc.TxnRequest()
        puts = None
        for member in self.members:
            whole.success.add().request_txn.CopyFrom(member.request)
            puts = puts or next((op for op in member.request.success if op.HasField("request_put")), None)
        if puts is not None:
            # etcd looks for space by the puts of the outer level only: without one a group is applied beyond the
            # quota, also under NOSPACE (measured on 3.5.16). This one is never applied, since nothing is compared.
            whole.failure.add().request_put.key = puts.request_put.key
        return whole


class GroupCommit(Company[_Commit, _Group]):
    """One a cluster: stores that share an etcd share it."""

    async def commit(
        self, etcd: Backend, request: rpc.TxnRequest, compares: set[bytes], writes: set[bytes]
    ) -> tuple[bool, int]:
        """Whether the compares held and the operations were applied, and the revision. The keys are those of the
        request. Raises what the call raises, within the time of a call; StoreUnavailable when it was not sent by then,
        StoreOverloaded at once."""
        width = max(len(compares), len(writes))
        member = _Commit(request, writes, compares, width, bytes=request.ByteSize())
        self._join(etcd, member)
        return await member.answer

    def _next_group(self) -> _Group | None:
        group, left = _Group(), []
        for n, member in enumerate(self._waiting):
            if group.full_with(0, 0):
                left += self._waiting[n:]
                break
            if member.answer.done():
                continue
            blocked = group.full_with(member.width, member.bytes) or group.conflicts(member)
            if blocked or any(other.conflicts(member) for other in self._under_way.values()):
                left.append(member)
            else:
                group.add(member)
        self._waiting = left
        return group if group.members else None

    def _expired(self, target: str, *, sent: bool) -> Exception:
        if sent:
            return UnknownOutcome(f"etcd at {target} did not confirm a write in time")
        return StoreUnavailable(f"etcd at {target} takes no writes: one waited for its whole time and was not sent")

    async def _run(self, etcd: Backend, group: _Group) -> None:
        GROUP_SIZE.observe(len(group.members))
        try:
            if len(group.members) == 1:
                await _alone(etcd, group.members[0])
                return
            answer = await etcd.txn(group.request(), writes=True)
            for member, response in zip(group.members, answer.responses, strict=True):
                member.resolve((response.response_txn.succeeded, int(answer.header.revision)))
        except Exception as error:
            if len(group.members) > 1 and was_refused(error):
                # Nothing was applied. The reason may lie in one of them, or be none for some: each asks for itself.
                await asyncio.gather(*(_alone(etcd, member) for member in group.members if not member.answer.done()))
                return
            for member in group.members:
                member.fail(error)
        finally:
            # gRPC ends the calls of a connection that is closed by cancelling them, which is no Exception.
            for member in group.members:
                member.fail(UnknownOutcome("the connection to etcd was closed before it confirmed a write"))


async def _alone(etcd: Backend, member: _Commit) -> None:
    try:
        answer = await etcd.txn(member.request, writes=True)
        member.resolve((answer.succeeded, int(answer.header.revision)))
    except Exception as error:
        member.fail(error)


_groups: Final[WeakKeyDictionary[Backend, tuple[GroupCommit, GroupRead]]] = WeakKeyDictionary()


def groups_of(etcd: Backend) -> tuple[GroupCommit, GroupRead]:
    """Those of this connection, which they do not hold: what is kept by it must not keep it."""
    found = _groups.get(etcd)
    if found is None:
        found = _groups[etcd] = GroupCommit(), GroupRead()
    return found
