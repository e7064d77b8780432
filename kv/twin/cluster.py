"""The state of one etcd in memory. All that changes it is synchronous: a request is applied whole, or refused."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import structlog
from aetcd import rpc

from kv.twin.faults import Faults
from kv.twin.leases import Leases
from kv.twin.mvcc import Mvcc
from kv.twin.refusals import UNREACHABLE
from kv.twin.requests import check_range, parse
from kv.twin.streams import TwinStream, header
from kv.twin.transactions import read, transact
from kv.twin.watches import Watches, WatchStream

log = structlog.get_logger()


class Cluster:
    """Leases live by the running loop's time; with a `clock` of its own, `expire` is to be called when it moved."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock
        self._mvcc = Mvcc()
        self._leases = Leases()
        self._watches = Watches()
        self._streams: dict[TwinStream, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def revision(self) -> int:
        return self._mvcc.revision

    def range(self, request: rpc.RangeRequest) -> rpc.RangeResponse:
        self.expire()
        check_range(request)
        self._mvcc.check(request.revision)
        answer = rpc.RangeResponse()
        read(self._mvcc, request, answer)
        return answer

    def txn(self, request: rpc.TxnRequest) -> rpc.TxnResponse:
        self.expire()
        answer = transact(self._mvcc, self._leases, parse(request))
        self._commit()
        return answer

    def grant(self, request: rpc.LeaseGrantRequest) -> rpc.LeaseGrantResponse:
        self.expire()
        lease = self._leases.grant(request.TTL, self._now())
        self._wind()
        return rpc.LeaseGrantResponse(header=header(self.revision), ID=lease.id, TTL=lease.ttl)

    def revoke(self, request: rpc.LeaseRevokeRequest) -> rpc.LeaseRevokeResponse:
        self.expire()
        self._end_lease(request.ID)
        return rpc.LeaseRevokeResponse(header=header(self.revision))

    def renew(self, request: rpc.LeaseKeepAliveRequest) -> rpc.LeaseKeepAliveResponse:
        """TTL 0: the lease does not exist."""
        self.expire()
        ttl = self._leases.renew(request.ID, self._now())
        return rpc.LeaseKeepAliveResponse(header=header(self.revision), ID=request.ID, TTL=ttl)

    def compact(self, revision: int) -> None:
        """Raises AioRpcError when it was compacted before or lies in the future."""
        self._mvcc.compact(revision)

    def expire(self) -> None:
        """Ends the leases whose time is over, each in a revision of its own."""
        if (lease := self._leases.due(self._now())) is None:
            return
        while lease is not None:
            self._end_lease(lease)
            lease = self._leases.due(self._now())
        self._wind()

    def restart(self) -> None:
        """As a new leader does: every stream breaks, every lease has its whole time again."""
        for stream in list(self._streams):
            stream.end(UNREACHABLE)
        self._leases.renew_all(self._now())

    def apply_later(self, seconds: float, method: Callable[[Any], Any], request: Any) -> None:
        """The request comes in when nobody waits for its answer any more."""

        def apply() -> None:
            try:
                method(request)
            except grpc.aio.AioRpcError as error:
                log.debug("late request refused", reason=error.details())

        asyncio.get_running_loop().call_later(seconds, apply)

    def open_watch(self, faults: Faults | None) -> TwinStream:
        return self._opened(WatchStream(self._mvcc, self._watches, faults, self._forget))

    def open_keepalive(self, faults: Faults | None) -> TwinStream:
        return self._opened(KeepAliveStream(self.renew, faults, self._forget))

    def _opened(self, stream: TwinStream) -> TwinStream:
        self._streams[stream] = None
        return stream

    def _forget(self, stream: TwinStream) -> None:
        self._streams.pop(stream, None)

    def _commit(self) -> None:
        changes = self._mvcc.commit()
        if changes:
            self._watches.publish(self._mvcc, changes)

    def _end_lease(self, lease: int) -> None:
        for key in self._leases.remove(lease):
            self._mvcc.delete(key, b"")
        self._commit()

    def _now(self) -> float:
        return self._clock() if self._clock is not None else asyncio.get_running_loop().time()

    def _wind(self) -> None:
        """Sets the timer to the first expiry, so that a lease ends though nobody calls."""
        when = self._leases.next_expiry()
        if self._clock is not None or when is None:
            return
        if self._timer is not None:
            if self._timer.when() == when and not self._timer.cancelled():
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(when, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self.expire()
        self._wind()


class KeepAliveStream(TwinStream):
    name = "keepalive"

    def __init__(
        self,
        renew: Callable[[rpc.LeaseKeepAliveRequest], rpc.LeaseKeepAliveResponse],
        faults: Faults | None,
        forget: Callable[[TwinStream], None],
    ) -> None:
        super().__init__(faults, forget)
        self._renew = renew

    def take(self, request: rpc.LeaseKeepAliveRequest) -> None:
        self.push(self._renew(request))
