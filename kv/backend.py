"""What a store needs of an etcd. `kv.client.Etcd` is one over the network, `kv.twin.client.Twin` one in memory."""

from typing import Any, Final, Protocol

import grpc
from aetcd import rpc

from schemas.errors import KilonovaError, StoreFull, StoreUnavailable, TooLarge, UnknownOutcome

NO_ANSWER: Final = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}

STALE_TOKEN: Final = ("invalid auth token", "revision of auth store is old")
"""etcd's words for a token that it does not know any more, as after a restart: whoever asks for a new one may go on"""


class Stream(Protocol):
    """A call in both directions, as grpc.aio has it: `read` gives grpc.aio.EOF at the end and raises AioRpcError when
    the stream breaks; a cancelled `read` ends the stream; `write` to one that has ended raises InvalidStateError."""

    async def write(self, request: Any) -> None: ...
    async def read(self) -> Any: ...
    def cancel(self) -> bool: ...


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


def explain(target: str, error: grpc.aio.AioRpcError, *, writes: bool) -> KilonovaError:
    """What a failed call means to the one who made it."""
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
    if code in NO_ANSWER or "etcdserver: request timed out" in detail or "leader changed" in detail:
        if writes:
            return UnknownOutcome(f"etcd at {target} did not confirm a write: {detail}")
        return StoreUnavailable(f"etcd at {target} does not answer: {detail}")
    return StoreUnavailable(f"etcd at {target} refused a call: {code.name} {detail}")
