"""Following a span of keys: listed once, followed by revision, listed again only after a compaction."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any, Final

import grpc
import structlog
from aetcd import rpc

from kv.keys import Span
from kv.store import Store
from schemas.errors import StoreUnavailable, UnreadableRecord

log = structlog.get_logger()

IDLE_SECONDS: Final = 5.0
"""A stream that says nothing for so long is asked for progress; after as long again it counts as dead."""
ASK_SECONDS: Final = 0.5
"""How often a waiter asks for progress."""
PAGE: Final = 1000
"""Records of one answer while listing: what a list takes in memory beyond what is kept of it."""

_LOST: Final = (
    StoreUnavailable,
    grpc.aio.AioRpcError,
    grpc.aio.UsageError,
    asyncio.InvalidStateError,
    ConnectionError,
    TimeoutError,
)
"""InvalidStateError is what grpc.aio raises on writing to a stream that has just broken."""


class Compacted(Exception):
    """The revision to resume at is gone: list again."""


class Follower(ABC):
    """`run` keeps it current; `connected` says whether its stream is alive."""

    def __init__(self, store: Store, span: Span[Any]) -> None:
        self.revision = 0
        """complete up to here"""
        self.connected = False
        self.synced = asyncio.Event()
        self._store = store
        self._span = span
        self._moved = asyncio.Condition()
        self._stream: Any = None
        self._wanted = asyncio.Event()
        """somebody waits for progress"""

    @abstractmethod
    def held(self) -> Collection[str]:
        """The paths of all that it knows to exist."""

    @abstractmethod
    def take(self, path: str, kv: Any, revision: int) -> None:
        """What is true of a path since `revision`: its KeyValue, or None when it is gone. May repeat what is known."""

    async def wait_until(self, revision: int) -> None:
        """Returns when the copy holds every write up to `revision`, however often the stream breaks until then."""
        while self.revision < revision:
            self._wanted.set()
            try:
                async with asyncio.timeout(ASK_SECONDS), self._moved:
                    await self._moved.wait_for(lambda: self.revision >= revision)
            except TimeoutError:
                continue  # the question was lost with its stream, or came before etcd had sent all of a backlog

    async def run(self) -> None:
        """Until cancelled. Survives the loss of etcd and compaction."""
        pause = 0.05
        while True:
            try:
                if not self.synced.is_set():
                    await self._list()
                await self._follow()
            except Compacted:
                self.synced.clear()
                continue
            except _LOST as error:
                if self.connected:
                    log.warning("watch lost", span=self._span.start, reason=str(error)[:200])
                    pause = 0.05
            finally:
                self.connected = False
                self._close_stream()
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)

    async def _list(self) -> None:
        """Page by page as of one revision; what is gone is told first."""
        start, revision, more = self._full(self._span.start), 0, True
        held = list(self.held())
        if held:
            keys = await self._range(start, 0, keys_only=True, limit=0)
            revision = keys.header.revision
            there = {self._path(kv.key) for kv in keys.kvs}
            for path in held:
                if path not in there:
                    self.take(path, None, revision)
        while more:
            page = await self._range(start, revision, keys_only=False, limit=PAGE)
            for kv in page.kvs:
                self.take(self._path(kv.key), kv, kv.mod_revision)
                start = kv.key + b"\0"
            revision, more = revision or page.header.revision, page.more
        await self._advance(revision)
        self.synced.set()

    async def _range(self, start: bytes, revision: int, *, keys_only: bool, limit: int) -> Any:
        request = rpc.RangeRequest(
            key=start, range_end=self._full(self._span.end), revision=revision, keys_only=keys_only, limit=limit
        )
        return await self._store.etcd.range(request)

    async def _follow(self) -> None:
        self._stream = await self._store.etcd.watch_stream()
        create = rpc.WatchCreateRequest(
            key=self._full(self._span.start), range_end=self._full(self._span.end), start_revision=self.revision + 1
        )
        await self._stream.write(rpc.WatchRequest(create_request=create))
        # A read or write that is cancelled ends the whole stream, so only this loop touches it, and one read stays
        # pending over everything else.
        reading: asyncio.Future[Any] = asyncio.ensure_future(self._stream.read())
        wanted = asyncio.ensure_future(self._wanted.wait())
        heard = (clock := asyncio.get_running_loop().time)()
        try:
            while True:
                done, _ = await asyncio.wait(
                    [reading, wanted], timeout=IDLE_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                if reading in done:
                    heard = clock()
                    answer = reading.result()
                    if answer is grpc.aio.EOF:
                        raise ConnectionError("etcd ended the watch")
                    reading = asyncio.ensure_future(self._stream.read())
                    await self._take(answer)
                elif clock() - heard >= 2 * IDLE_SECONDS:
                    raise TimeoutError("no progress reported")
                else:
                    self._wanted.clear()
                    wanted.cancel()
                    wanted = asyncio.ensure_future(self._wanted.wait())
                    await self._stream.write(rpc.WatchRequest(progress_request=rpc.WatchProgressRequest()))
        finally:
            reading.cancel()
            wanted.cancel()

    async def _take(self, answer: Any) -> None:
        if answer.canceled:
            if answer.compact_revision:
                raise Compacted
            raise ConnectionError(f"etcd cancelled the watch: {answer.cancel_reason}")
        self.connected = True
        if answer.created:
            return
        for event in answer.events:
            gone = event.type == rpc.Event.DELETE
            self.take(self._path(event.kv.key), None if gone else event.kv, event.kv.mod_revision)
        # A long backlog comes in parts, each headed by the newest revision: only the last event tells how far it is.
        await self._advance(answer.events[-1].kv.mod_revision if answer.events else answer.header.revision)

    async def _advance(self, revision: int) -> None:
        async with self._moved:
            self.revision = max(self.revision, revision)
            self._moved.notify_all()

    def _close_stream(self) -> None:
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None

    def _full(self, path: str) -> bytes:
        return (self._store.prefix + path).encode()

    def _path(self, key: bytes) -> str:
        return key.decode()[len(self._store.prefix) :]


def log_unreadable(error: UnreadableRecord) -> None:
    log.error("unreadable record left out", reason=error.message)
