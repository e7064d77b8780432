"""Whether a request is one that etcd takes, decided before anything of it is done."""

from collections.abc import Sequence
from typing import Any, Final

import grpc
from aetcd import rpc
from attrs import define, field

from kv.twin.refusals import (
    DUPLICATE_KEY,
    EMPTY_KEY,
    KEY_NOT_FOUND,
    LEASE_PROVIDED,
    TOO_LARGE,
    TOO_MANY_OPERATIONS,
    VALUE_PROVIDED,
    refused,
)

MAX_OPERATIONS: Final = 128
MAX_BYTES: Final = (3 << 19) - 20
"""etcd's --max-request-bytes less the envelope that it counts as well"""
MAX_MESSAGE: Final = 2 << 20
"""what etcd's gRPC server takes at all"""


def check_range(request: rpc.RangeRequest) -> None:
    if not request.key:
        raise refused(EMPTY_KEY)


def check_txn(request: rpc.TxnRequest) -> None:
    """Form, number of operations, keys put twice and size. Raises what etcd refuses it with."""
    size = request.ByteSize()
    if size > MAX_MESSAGE:
        text = f"grpc: received message larger than max ({size} vs. {MAX_MESSAGE})"
        raise refused((grpc.StatusCode.RESOURCE_EXHAUSTED, text))
    _check_form(request, MAX_OPERATIONS)
    _check_overlaps(request.success)
    _check_overlaps(request.failure)
    if size > MAX_BYTES and not is_readonly(request):
        raise refused(TOO_LARGE)


def is_readonly(request: rpc.TxnRequest) -> bool:
    return all(op.WhichOneof("request") == "request_range" for ops in (request.success, request.failure) for op in ops)


def _check_form(request: rpc.TxnRequest, allowed: int) -> None:
    """Each level's widest list uses up what the levels below it may have."""
    allowed -= max(len(request.compare), len(request.success), len(request.failure))
    if allowed < 0:
        raise refused(TOO_MANY_OPERATIONS)
    for compare in request.compare:
        if not compare.key:
            raise refused(EMPTY_KEY)
    for ops in (request.success, request.failure):
        for op in ops:
            _check_operation(op, allowed)


def _check_operation(op: rpc.RequestOp, allowed: int) -> None:
    kind = op.WhichOneof("request")
    if kind == "request_put":
        put = op.request_put
        if not put.key:
            raise refused(EMPTY_KEY)
        if put.ignore_value and put.value:
            raise refused(VALUE_PROVIDED)
        if put.ignore_lease and put.lease:
            raise refused(LEASE_PROVIDED)
    elif kind == "request_txn":
        _check_form(op.request_txn, allowed)
    elif kind is None:
        raise refused(KEY_NOT_FOUND)
    elif not getattr(op, kind).key:
        raise refused(EMPTY_KEY)


@define
class _Written:
    puts: set[bytes] = field(factory=set)
    deleted: set[bytes] = field(factory=set)
    ranges: list[tuple[bytes, bytes]] = field(factory=list)
    """deleted as well: from, to"""

    def put(self, keys: set[bytes]) -> None:
        """Refuses what was put or deleted before."""
        if not (self.puts.isdisjoint(keys) and self.deleted.isdisjoint(keys)):
            raise refused(DUPLICATE_KEY)
        if any(start <= key < end for start, end in self.ranges for key in keys):
            raise refused(DUPLICATE_KEY)
        self.puts |= keys


def _check_overlaps(ops: Sequence[Any]) -> _Written:
    """A key may be put once, and not where an earlier nested transaction or its own level deletes; what a later nested
    one deletes is not compared, as in etcd."""
    written = _Written()
    own: list[bytes] = []
    nested: list[rpc.TxnRequest] = []
    for op in ops:
        kind = op.WhichOneof("request")
        if kind == "request_put":
            own.append(op.request_put.key)
        elif kind == "request_txn":
            nested.append(op.request_txn)
        elif kind == "request_delete_range":
            delete = op.request_delete_range
            if delete.range_end:
                written.ranges.append((delete.key, delete.range_end))
            else:
                written.deleted.add(delete.key)
    for txn in nested:
        then, otherwise = _check_overlaps(txn.success), _check_overlaps(txn.failure)
        written.put(then.puts | otherwise.puts)
        for branch in (then, otherwise):
            written.deleted |= branch.deleted
            written.ranges += branch.ranges
    for key in own:
        written.put({key})
    return written
