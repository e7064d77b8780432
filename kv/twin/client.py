"""One process's connection to a cluster in memory: what `kv.client.Etcd` is to a real one."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import grpc
from aetcd import rpc

from kv.backend import explain
from kv.twin.cluster import Cluster
from kv.twin.faults import Faults, Late, Lost
from kv.twin.refusals import CLOSED, TIMED_OUT, UNREACHABLE, refused
from kv.twin.streams import TwinStream
from schemas.errors import StoreUnavailable

Q = TypeVar("Q")
T = TypeVar("T")


class Twin:
    """Twins of one cluster see each other's writes. Each call lets other tasks run before and after it is applied."""

    def __init__(
        self, cluster: Cluster, faults: Faults | None = None, *, timeout: float = 5.0, target: str = "twin"
    ) -> None:
        self.timeout = timeout
        self.target = target
        self.cluster = cluster
        self._faults = faults
        self._streams: list[TwinStream] = []
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        for stream in self._streams:
            stream.end(CLOSED)

    def disconnect(self) -> None:
        """Breaks this process's streams, as the loss of its connection does; new ones may be opened at once."""
        for stream in self._streams:
            stream.end(UNREACHABLE)
        self._streams.clear()

    async def range(self, request: rpc.RangeRequest) -> rpc.RangeResponse:
        return await self._call("range", self.cluster.range, request, writes=False)

    async def txn(self, request: rpc.TxnRequest, *, writes: bool) -> rpc.TxnResponse:
        return await self._call("txn" if writes else "read", self.cluster.txn, request, writes=writes)

    async def grant(self, ttl: int) -> int:
        """A new lease's id."""
        answer = await self._call("grant", self.cluster.grant, rpc.LeaseGrantRequest(TTL=ttl), writes=False)
        return int(answer.ID)

    async def revoke(self, lease: int) -> None:
        await self._call("revoke", self.cluster.revoke, rpc.LeaseRevokeRequest(ID=lease), writes=False)

    async def keepalive_stream(self) -> TwinStream:
        return self._opened(self.cluster.open_keepalive(self._faults))

    async def watch_stream(self) -> TwinStream:
        return self._opened(self.cluster.open_watch(self._faults))

    def _opened(self, stream: TwinStream) -> TwinStream:
        self._check_open()
        self._streams = [s for s in self._streams if s.open]
        self._streams.append(stream)
        return stream

    async def probe(self, key: bytes, seconds: float) -> None:
        """Returns when a read is answered within so many seconds. Raises StoreUnavailable."""
        try:
            async with asyncio.timeout(seconds):
                await self.range(rpc.RangeRequest(key=key, count_only=True))
        except TimeoutError:
            raise StoreUnavailable(f"etcd at {self.target} does not answer") from None

    async def _call(self, name: str, method: Callable[[Q], T], request: Q, *, writes: bool) -> T:
        self._check_open()
        try:
            if self._faults is not None:
                return await self._call_with(self._faults, name, method, request)
            await asyncio.sleep(0)
            answer = method(request)
            await asyncio.sleep(0)
            return answer
        except grpc.aio.AioRpcError as error:
            raise explain(self.target, error, writes=writes) from error

    async def _call_with(self, faults: Faults, name: str, method: Callable[[Q], T], request: Q) -> T:
        try:
            async with asyncio.timeout(self.timeout):
                try:
                    await faults.before(name, request)
                except Late as late:
                    self.cluster.apply_later(late.seconds, method, request)
                    await asyncio.get_running_loop().create_future()  # until the time-out
                answer = method(request)
                await faults.after(name, answer)
                return answer
        except TimeoutError:
            raise refused(TIMED_OUT) from None
        except Lost:
            raise refused(UNREACHABLE) from None

    def _check_open(self) -> None:
        if self._closed:
            raise grpc.aio.UsageError("Channel is closed.")
