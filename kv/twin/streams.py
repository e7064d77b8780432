"""The calls in both directions, with the manners of grpc.aio's."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any

import grpc
from aetcd import rpc

from kv.twin.faults import Faults, Late, Lost
from kv.twin.refusals import CANCELLED, UNREACHABLE, Refusal, refused


class TwinStream(ABC):
    """What the cluster answers waits in an inbox until it is read. A stream that breaks loses its inbox."""

    name: str

    def __init__(self, faults: Faults | None, forget: Callable[["TwinStream"], None]) -> None:
        self._faults = faults
        self._forget = forget
        self._inbox: deque[Any] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._ended: Refusal | None = None
        self._writing = True

    @property
    def open(self) -> bool:
        return self._ended is None

    @abstractmethod
    def take(self, request: Any) -> None:
        """A request has arrived."""

    def leave(self) -> None:
        """The stream is over."""
        self._forget(self)

    async def write(self, request: Any) -> None:
        self._check_open()
        try:
            if self._faults is None:
                await asyncio.sleep(0)
            else:
                await self._faults.before(self.name, request)
        except (Lost, Late):
            self.end(UNREACHABLE)
            raise refused(UNREACHABLE) from None
        self._check_open()
        self.take(request)

    async def read(self) -> Any:
        try:
            await asyncio.sleep(0)
            while not self._inbox:
                self._check_alive()
                if not self._writing:
                    self.end(UNREACHABLE)
                    return grpc.aio.EOF
                self._reader = asyncio.get_running_loop().create_future()
                await self._reader
            answer = self._inbox.popleft()
            if self._faults is not None:
                await self._faults.after(self.name, answer)
                self._check_alive()
            return answer
        except Lost:
            self.end(UNREACHABLE)
            raise refused(UNREACHABLE) from None
        except asyncio.CancelledError:
            self.cancel()
            raise

    async def done_writing(self) -> None:
        """After what is in the inbox the reader gets EOF."""
        self._writing = False
        self._wake()

    def cancel(self) -> bool:
        if self._ended is not None:
            return False
        self.end(CANCELLED)
        return True

    def give_up(self) -> None:
        self.cancel()

    def end(self, reason: Refusal) -> None:
        if self._ended is None:
            self._ended = reason
            self._inbox.clear()
            self.leave()
            self._wake()

    def push(self, answer: Any) -> None:
        self._inbox.append(answer)
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _check_alive(self) -> None:
        if self._ended is CANCELLED:
            raise asyncio.CancelledError
        if self._ended is not None:
            raise refused(self._ended)

    def _check_open(self) -> None:
        if self._ended is not None or not self._writing:
            raise asyncio.InvalidStateError("RPC already finished.")


def header(revision: int) -> rpc.ResponseHeader:
    return rpc.ResponseHeader(revision=revision)
