"""Reading and changing the keys by requests: compares on the state before, operations in order, one revision."""

from collections.abc import Callable
from operator import attrgetter, eq, gt, lt, ne
from typing import Any, Final

from aetcd import rpc
from attrs import define

from kv.twin.leases import Leases
from kv.twin.mvcc import Mvcc
from kv.twin.refusals import KEY_NOT_FOUND, LEASE_NOT_FOUND, refused
from kv.twin.requests import DELETE, PUT, RANGE, TXN, Operation, Parsed

_TARGETS: Final = {
    rpc.Compare.VERSION: "version",
    rpc.Compare.CREATE: "create_revision",
    rpc.Compare.MOD: "mod_revision",
    rpc.Compare.VALUE: "value",
    rpc.Compare.LEASE: "lease",
}
_RESULTS: Final[dict[int, Callable[[Any, Any], bool]]] = {
    rpc.Compare.EQUAL: eq,
    rpc.Compare.GREATER: gt,
    rpc.Compare.LESS: lt,
    rpc.Compare.NOT_EQUAL: ne,
}
_SORTS: Final = {
    rpc.RangeRequest.KEY: attrgetter("key"),
    rpc.RangeRequest.VERSION: attrgetter("version"),
    rpc.RangeRequest.CREATE: attrgetter("create_revision"),
    rpc.RangeRequest.MOD: attrgetter("mod_revision"),
    rpc.RangeRequest.VALUE: attrgetter("value"),
}
_ABSENT: Final = rpc.KeyValue()


@define
class _Branch:
    """What a transaction's compares have chosen, before anything is written. Of TXN the request is a _Branch too."""

    succeeded: bool
    ops: list[Operation]


def read(mvcc: Mvcc, request: rpc.RangeRequest, answer: rpc.RangeResponse) -> None:
    """Fills in the answer."""
    if request.revision > 0:
        found = mvcc.select_at(request.revision, request.key, request.range_end)
    else:
        found = mvcc.select(request.key, request.range_end)
    answer.header.revision = mvcc.seen
    answer.count = len(found)
    if not found or request.count_only:
        return
    if request.range_end:
        found, answer.more = _page(request, found)
    else:
        found = _bounded(request, found)
    if request.keys_only:
        for kv in found:
            answer.kvs.add().CopyFrom(kv)
            answer.kvs[-1].ClearField("value")
    else:
        answer.kvs.extend(found)


def transact(mvcc: Mvcc, leases: Leases, parsed: Parsed) -> rpc.TxnResponse:
    """Applies it; the caller commits. Raises a refusal before anything is changed."""
    branch = _choose(mvcc, parsed)
    _check_puts(mvcc, leases, branch)
    _check_ranges(mvcc, branch)
    answer = rpc.TxnResponse(succeeded=branch.succeeded)
    _apply(mvcc, leases, branch, answer.responses)
    answer.header.revision = mvcc.seen
    return answer


def _choose(mvcc: Mvcc, parsed: Parsed) -> _Branch:
    succeeded = all(_holds(mvcc, compare) for compare in parsed.compares)
    ops = parsed.success if succeeded else parsed.failure
    return _Branch(succeeded, [(kind, _choose(mvcc, op) if kind == TXN else op) for kind, op in ops])


def _holds(mvcc: Mvcc, compare: rpc.Compare) -> bool:
    target = _TARGETS[compare.target]
    compares = _RESULTS[compare.result]
    wanted = getattr(compare, target)
    if not compare.range_end:
        found = mvcc.get(compare.key)
        if found is not None:
            return compares(getattr(found, target), wanted)
        kvs = []
    else:
        kvs = mvcc.select(compare.key, compare.range_end)
    if not kvs:  # the value of nothing compares as unlike anything, its numbers as 0
        return target != "value" and compares(getattr(_ABSENT, target), wanted)
    return all(compares(getattr(kv, target), wanted) for kv in kvs)


def _check_puts(mvcc: Mvcc, leases: Leases, branch: _Branch) -> None:
    for kind, op in branch.ops:
        if kind == PUT:
            if (op.ignore_value or op.ignore_lease) and mvcc.get(op.key) is None:
                raise refused(KEY_NOT_FOUND)
            if op.lease and op.lease not in leases:
                raise refused(LEASE_NOT_FOUND)
        elif kind == TXN:
            _check_puts(mvcc, leases, op)


def _check_ranges(mvcc: Mvcc, branch: _Branch) -> None:
    for kind, op in branch.ops:
        if kind == RANGE:
            mvcc.check(op.revision)
        elif kind == TXN:
            _check_ranges(mvcc, op)


def _apply(mvcc: Mvcc, leases: Leases, branch: _Branch, responses: Any) -> None:
    for kind, op in branch.ops:
        response = responses.add()
        if kind == PUT:
            _put(mvcc, leases, op, response.response_put)
        elif kind == RANGE:
            read(mvcc, op, response.response_range)
        elif kind == DELETE:
            _delete(mvcc, leases, op, response.response_delete_range)
        else:
            inner = response.response_txn
            inner.header.SetInParent()
            inner.succeeded = op.succeeded
            _apply(mvcc, leases, op, inner.responses)


def _put(mvcc: Mvcc, leases: Leases, put: rpc.PutRequest, answer: rpc.PutResponse) -> None:
    value, lease = put.value, put.lease
    if put.ignore_value or put.ignore_lease:
        current = mvcc.get(put.key) or _ABSENT
        value = current.value if put.ignore_value else value
        lease = current.lease if put.ignore_lease else lease
    key = put.key
    old = mvcc.put(key, value, lease)
    before = old.lease if old is not None else 0
    if before != lease:
        leases.move(key, before, lease)
    answer.header.revision = mvcc.revision + 1
    if put.prev_kv and old is not None:
        answer.prev_kv.CopyFrom(old)


def _delete(mvcc: Mvcc, leases: Leases, delete: rpc.DeleteRangeRequest, answer: rpc.DeleteRangeResponse) -> None:
    gone = mvcc.delete(delete.key, delete.range_end)
    for old in gone:
        leases.move(old.key, old.lease, 0)
    answer.header.revision = mvcc.seen
    answer.deleted = len(gone)
    if delete.prev_kv:
        answer.prev_kvs.extend(gone)


def _page(request: rpc.RangeRequest, found: list[Any]) -> tuple[list[Any], bool]:
    """Sorted and cut as etcd does: without an order or bounds the limit is taken first, in the order of the keys, even
    if another sort target is named."""
    bounds = (
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    )
    limit, order = request.limit, request.sort_order
    if order == rpc.RangeRequest.NONE and not any(bounds) and limit > 0:
        found = found[: limit + 1]
    found = _bounded(request, found)
    if order != rpc.RangeRequest.NONE or request.sort_target != rpc.RangeRequest.KEY:
        descending = order == rpc.RangeRequest.DESCEND
        if request.sort_target == rpc.RangeRequest.KEY:
            found = found[::-1] if descending else found
        else:
            found = sorted(found, key=_SORTS[request.sort_target], reverse=descending)
    if 0 < limit < len(found):
        return found[:limit], True
    return found, False


def _bounded(request: rpc.RangeRequest, found: list[Any]) -> list[Any]:
    """Without those outside the bounds of revisions; 0 bounds nothing."""
    if request.min_mod_revision:
        found = [kv for kv in found if kv.mod_revision >= request.min_mod_revision]
    if request.max_mod_revision:
        found = [kv for kv in found if kv.mod_revision <= request.max_mod_revision]
    if request.min_create_revision:
        found = [kv for kv in found if kv.create_revision >= request.min_create_revision]
    if request.max_create_revision:
        found = [kv for kv in found if kv.create_revision <= request.max_create_revision]
    return found
