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


PUT: Final = "request_put"
RANGE: Final = "request_range"
DELETE: Final = "request_delete_range"
TXN: Final = "request_txn"

Operation = tuple[str, Any]
"""one of the above, and its request; of TXN the Parsed one"""


@define
class Parsed:
    """A transaction of good form."""

    compares: Sequence[Any]
    success: list[Operation]
    failure: list[Operation]


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
        if self.ranges and any(start <= key < end for start, end in self.ranges for key in keys):
            raise refused(DUPLICATE_KEY)
        self.puts |= keys


def check_range(request: rpc.RangeRequest) -> None:
    if not request.key:
        raise refused(EMPTY_KEY)


def parse(request: rpc.TxnRequest) -> Parsed:
    """Raises what etcd refuses it with: its form, the number of operations, keys put twice, its size."""
    size = request.ByteSize()
    if size > MAX_MESSAGE:
        text = f"grpc: received message larger than max ({size} vs. {MAX_MESSAGE})"
        raise refused((grpc.StatusCode.RESOURCE_EXHAUSTED, text))
    parsed = _parse(request, MAX_OPERATIONS)
    for ops in (parsed.success, parsed.failure):
        if len(ops) > 1 or any(kind == TXN for kind, _ in ops):
            _check_overlaps(ops)
    if size > MAX_BYTES and not _is_readonly(parsed):
        raise refused(TOO_LARGE)
    return parsed


def _is_readonly(parsed: Parsed) -> bool:
    return all(kind == RANGE for ops in (parsed.success, parsed.failure) for kind, _ in ops)


def _parse(request: rpc.TxnRequest, allowed: int) -> Parsed:
    """Each level's widest list uses up what the levels below it may have."""
    compares, success, failure = request.compare, request.success, request.failure
    allowed -= max(len(compares), len(success), len(failure))
    if allowed < 0:
        raise refused(TOO_MANY_OPERATIONS)
    for compare in compares:
        if not compare.key:
            raise refused(EMPTY_KEY)
    return Parsed(compares, [_operation(op, allowed) for op in success], [_operation(op, allowed) for op in failure])


def _operation(op: rpc.RequestOp, allowed: int) -> Operation:
    kind = op.WhichOneof("request")
    if kind is None:
        raise refused(KEY_NOT_FOUND)
    request = getattr(op, kind)
    if kind == TXN:
        return kind, _parse(request, allowed)
    if not request.key:
        raise refused(EMPTY_KEY)
    if kind == PUT:
        if request.ignore_value and request.value:
            raise refused(VALUE_PROVIDED)
        if request.ignore_lease and request.lease:
            raise refused(LEASE_PROVIDED)
    return kind, request


def _check_overlaps(ops: list[Operation]) -> _Written:
    """A key may be put once, and not where an earlier nested transaction or its own level deletes; what a later nested
    one deletes is not compared, as in etcd."""
    written = _Written()
    own: list[bytes] = []
    nested: list[Parsed] = []
    for kind, request in ops:
        if kind == PUT:
            own.append(request.key)
        elif kind == TXN:
            nested.append(request)
        elif kind == DELETE:
            if request.range_end:
                written.ranges.append((request.key, request.range_end))
            else:
                written.deleted.add(request.key)
    for txn in nested:
        then, otherwise = _check_overlaps(txn.success), _check_overlaps(txn.failure)
        written.put(then.puts | otherwise.puts)
        for branch in (then, otherwise):
            written.deleted |= branch.deleted
            written.ranges += branch.ranges
    keys = set(own)
    if len(keys) < len(own):
        raise refused(DUPLICATE_KEY)
    written.put(keys)
    return written
