"""Leases kept alive: many on one stream, each answered by its remaining seconds."""

import asyncio
from typing import Any

import grpc
from aetcd import rpc

from kv.backend import Backend
from schemas.errors import StoreUnavailable


class KeepAlive:
    """`renew` may be called by many at once; a broken stream fails those in flight and is opened anew."""

    def __init__(self, etcd: Backend) -> None:
        self._etcd = etcd
        self._stream: Any = None
        self._latest: Any = None
        """the present stream, or the one that was closed last"""
        self._reader: asyncio.Task[None] | None = None
        self._waiting: dict[int, list[asyncio.Future[int]]] = {}
        self._opening = asyncio.Lock()
        self._writing = asyncio.Lock()

    async def renew(self, lease: int, seconds: float | None = None) -> int:
        """Seconds that the lease now has; 0: it does not exist.

        `seconds`: how long the answer may take; None: as long as a call. A member that does not answer is left.
        Raises: StoreUnavailable.
        """
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._etcd.timeout if seconds is None else seconds):
                await self._ask(lease, future)
                return await future
        except (TimeoutError, grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError) as error:
            future.cancel()  # nobody awaits it any more
            if isinstance(error, TimeoutError) and self._latest is not None:
                self._latest.give_up()
            await self.close()
            raise StoreUnavailable(f"etcd at {self._etcd.target} did not renew a lease: {error!r}") from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # gRPC says so when another's failure has closed the stream under this one
            raise StoreUnavailable(f"etcd at {self._etcd.target} did not renew a lease") from error

    async def _ask(self, lease: int, future: asyncio.Future[int]) -> None:
        """Answers of one lease come in the order in which it was asked for, so a renewal waits for an answer from just
        when it is written, and a stream of which that is not certain is closed: an answer that were taken for a later
        question's would make the lease seem to last longer than it does."""
        while True:
            stream = await self._open()
            async with self._writing:
                if stream is not self._stream:
                    continue  # another's failure has closed it meanwhile
                self._waiting.setdefault(lease, []).append(future)
                try:
                    await stream.write(rpc.LeaseKeepAliveRequest(ID=lease))
                except BaseException:
                    future.cancel()
                    if stream is self._stream:
                        await self.close()
                    raise
                return

    async def close(self) -> None:
        reader, self._reader = self._reader, None
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.cancel()
        if reader is not None:
            reader.cancel()
        self._fail(StoreUnavailable("the keep-alive stream was closed"))

    async def _open(self) -> Any:
        """The stream, which another's failure may take from `self` at any moment."""
        async with self._opening:
            if self._reader is None or self._reader.done():
                self._stream = self._latest = await self._etcd.keepalive_stream()
                self._reader = asyncio.create_task(self._read(self._stream), name="lease-keepalive")
            return self._stream

    async def _read(self, stream: Any) -> None:
        error: Exception = ConnectionError("etcd ended the keep-alive stream")
        try:
            while (answer := await stream.read()) is not grpc.aio.EOF:
                futures = self._waiting.get(answer.ID)
                if futures:
                    future = futures.pop(0)
                    if not futures:
                        del self._waiting[answer.ID]
                    if not future.done():
                        future.set_result(answer.TTL)
        except grpc.aio.AioRpcError as broken:
            error = broken
        self._fail(StoreUnavailable(f"etcd at {self._etcd.target} did not renew a lease: {error}"))

    def _fail(self, error: StoreUnavailable) -> None:
        waiting, self._waiting = self._waiting, {}
        for futures in waiting.values():
            for future in futures:
                if not future.done():
                    future.set_exception(error)
