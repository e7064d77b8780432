"""The circuit breaker of a cell's etcd, through which every call of this process to the cell goes.

state    what a call does
closed   it is sent; one that is not answered within SLOW_SECONDS starts a probe, a small read
open     it fails at once as CellDown, unsent; what was under way when the breaker opened is cut off

A probe that no member answers opens it; while it is open probes go on, and the first that is answered closes it. So a
cell that does not answer is noticed in one or two seconds, and costs its callers nothing from then on. Streams are not
held back: the watches find their way back by themselves.
"""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Final, TypeVar

import structlog
from aetcd import rpc
from prometheus_client import Gauge

from kv.backend import Backend, Stream
from schemas.errors import CellDown, KilonovaError, StoreUnavailable, UnknownOutcome

log = structlog.get_logger()

T = TypeVar("T")

SLOW_SECONDS: Final = 0.5
"""A call that takes longer has missed its deadline as far as the breaker is concerned."""
PROBE_SECONDS: Final = 1.0
"""that each member has for its answer to a probe"""
PAUSE_SECONDS: Final = 0.5
"""between the probes while it is open, and between those of `keep_probing`"""
OPEN: Final = Gauge(
    "kilonova_cell_breaker_open", "1 while the etcd does not answer and nothing is sent to it", ["etcd"]
)


class Breaker:
    """Wraps the connection to one cluster; all of a process's stores on the cluster share it."""

    def __init__(self, etcd: Backend, key: bytes) -> None:
        """`key` is read by probes: one that the user may read."""
        self.timeout = etcd.timeout
        self.target = etcd.target
        self.open = False
        self._etcd = etcd
        self._key = key
        self._calls: dict[asyncio.Timeout, None] = {}
        """under way"""
        self._probing: asyncio.Task[None] | None = None
        self._answered_at = 0.0

    async def close(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
        await self._etcd.close()

    async def range(self, request: rpc.RangeRequest) -> rpc.RangeResponse:
        return await self._guarded(self._etcd.range(request), writes=False)

    async def txn(self, request: rpc.TxnRequest, *, writes: bool) -> rpc.TxnResponse:
        return await self._guarded(self._etcd.txn(request, writes=writes), writes=writes)

    async def grant(self, ttl: int) -> int:
        """A new lease's id."""
        return await self._guarded(self._etcd.grant(ttl), writes=False)

    async def revoke(self, lease: int) -> None:
        await self._guarded(self._etcd.revoke(lease), writes=False)

    async def keepalive_stream(self) -> Stream:
        return await self._etcd.keepalive_stream()

    async def watch_stream(self) -> Stream:
        return await self._etcd.watch_stream()

    async def probe(self, key: bytes, seconds: float) -> None:
        """As the wrapped connection's."""
        await self._etcd.probe(key, seconds)

    async def keep_probing(self) -> None:
        """Probes while nothing else is asked, for who only watches the cell. Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            if loop.time() - self._answered_at >= PAUSE_SECONDS:
                self._doubt()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _guarded(self, call: Awaitable[T], *, writes: bool) -> T:
        if self.open:
            call.close()  # type: ignore[attr-defined]  # a coroutine that was never started
            raise self._down()
        loop = asyncio.get_running_loop()
        timer = loop.call_later(SLOW_SECONDS, self._doubt)
        cut = asyncio.timeout(None)
        try:
            async with cut:
                self._calls[cut] = None
                answer = await call
        except TimeoutError:
            if not cut.expired():
                raise
            if writes:
                raise UnknownOutcome(f"etcd at {self.target} did not confirm a write and is taken for down") from None
            raise self._down() from None
        except StoreUnavailable:
            self._doubt()
            raise
        finally:
            timer.cancel()
            self._calls.pop(cut, None)
        self._answered_at = loop.time()
        return answer

    def _down(self) -> CellDown:
        return CellDown(f"etcd at {self.target} does not answer; it is asked again as soon as it does")

    def _doubt(self) -> None:
        if self._probing is None:
            self._probing = asyncio.create_task(self._probe(), name=f"probe {self.target}")
            self._probing.add_done_callback(self._probed)

    def _probed(self, task: asyncio.Task[None]) -> None:
        self._probing = None
        if not task.cancelled() and task.exception() is not None:
            log.error("probe failed unexpectedly", etcd=self.target, exc_info=task.exception())

    async def _probe(self) -> None:
        """Returns once it was answered, and the breaker is closed."""
        while not await self._answers():
            if not self.open:
                self._set(open_=True)
            for cut in list(self._calls):
                with suppress(RuntimeError):  # it is ending right now
                    cut.reschedule(asyncio.get_running_loop().time())
            await asyncio.sleep(PAUSE_SECONDS)
        if self.open:
            self._set(open_=False)

    async def _answers(self) -> bool:
        try:
            await self._etcd.probe(self._key, PROBE_SECONDS)
        except KilonovaError:
            return False
        self._answered_at = asyncio.get_running_loop().time()
        return True

    def _set(self, *, open_: bool) -> None:
        self.open = open_
        OPEN.labels(self.target).set(open_)
        log.warning("cell's etcd down" if open_ else "cell's etcd answers again", etcd=self.target)
