"""What a store needs of an etcd. `kv.client.Etcd` is one over the network, `kv.twin.client.Twin` one in memory."""

from typing import Any, Final, Protocol

import grpc
from aetcd import rpc

from schemas.errors import HistoryCompacted, KilonovaError, StoreFull, StoreUnavailable, TooLarge, UnknownOutcome

NO_ANSWER: Final = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}

STALE_TOKEN: Final = ("invalid auth token", "revision of auth store is old")
"""etcd's words for a token that it does not know any more, as after a restart: whoever asks for a new one may go on"""


class Stream(Protocol):
    """A call in both directions, as grpc.aio has it: `read` gives grpc.aio.EOF at the end and raises AioRpcError when
    the stream breaks; a cancelled `read` ends the stream; `write` to one that has ended raises InvalidStateError."""

    async def write(self, request: Any) -> None: ...
    async def read(self) -> Any: ...
    def cancel(self) -> bool: ...
    def give_up(self) -> None:
        """Ends a stream that does not answer, so that the next one is opened at another member."""


class Backend(Protocol):
    """Calls raise StoreUnavailable, StoreFull or, when a write may or may not have been applied, UnknownOutcome; the
    cause is the AioRpcError."""

    timeout: float
    """seconds that one call may take"""
    target: str
    """its name in messages"""

    async def close(self) -> None: ...
    async def range(self, request: rpc.RangeRequest) -> rpc.RangeResponse: ...
    async def txn(self, request: rpc.TxnRequest, *, writes: bool) -> rpc.TxnResponse: ...
    async def grant(self, ttl: int) -> int: ...
    async def revoke(self, lease: int) -> None: ...
    async def keepalive_stream(self) -> Stream: ...
    async def watch_stream(self) -> Stream: ...
    async def probe(self, key: bytes, seconds: float) -> None:
        """Returns when a member answers a linearizable read, a refusal included; each has so many seconds. Raises
        StoreUnavailable."""


_REFUSALS: Final = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
"""What etcd answers before it applies anything. After any other status a write may have been applied: INTERNAL and
UNKNOWN also come from a proxy or from gRPC itself, while the request is on its way or done."""
_REFUSAL_TEXTS: Final = (
    "database space exceeded",
    "too many requests",
    "grpc: received message larger than max",
    "Sent message larger than max",
)
"""of RESOURCE_EXHAUSTED; gRPC uses it for an answer that is too large as well, and then the write was applied"""


def is_lease_gone(error: KilonovaError) -> bool:
    """Whether a call failed since its lease does not exist."""
    cause = error.__cause__
    return isinstance(cause, grpc.aio.AioRpcError) and "requested lease not found" in (cause.details() or "")


def was_refused(error: BaseException) -> bool:
    """Whether etcd certainly did not apply the write that failed with this error."""
    if isinstance(error, StoreFull | TooLarge):
        return True
    if isinstance(error, UnknownOutcome) or not isinstance(error, KilonovaError):
        return False
    cause = error.__cause__
    return isinstance(cause, grpc.aio.AioRpcError) and _is_refusal(cause.code(), cause.details() or "")


def _is_refusal(code: grpc.StatusCode, detail: str) -> bool:
    return code in _REFUSALS or any(text in detail for text in _REFUSAL_TEXTS)


def explain(target: str, error: grpc.aio.AioRpcError, *, writes: bool) -> KilonovaError:
    """What a failed call means to its caller."""
    code, detail = error.code(), error.details() or ""
    if "TSI_" in detail:  # gRPC's way to say that one side does not accept the other's certificate
        detail += "; see ca, cert and key of the store's tls section"
    if "database space exceeded" in detail:
        return StoreFull(
            f"etcd at {target} is full and takes no writes: run 'kilonova etcd defrag --compact', then 'kilonova etcd "
            "alarms --clear' (with --cell for a cell's own etcd); give it more with --quota-backend-bytes"
        )
    if "too many operations in txn" in detail or "request is too large" in detail:
        return TooLarge(
            "This changes more records at once than etcd takes in one transaction: ask for less at once, or start etcd "
            "with a higher --max-txn-ops and --max-request-bytes"
        )
    if writes and not _is_refusal(code, detail):
        return UnknownOutcome(f"etcd at {target} did not confirm a write: {code.name} {detail}")
    if code in NO_ANSWER or "etcdserver: request timed out" in detail or "leader changed" in detail:
        return StoreUnavailable(f"etcd at {target} does not answer: {detail}")
    kind = HistoryCompacted if "required revision has been compacted" in detail else StoreUnavailable
    return kind(f"etcd at {target} refused a call: {code.name} {detail}")
