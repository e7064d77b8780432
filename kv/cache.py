"""A watched copy of a span of keys: listed once, followed by revision, listed again only after a compaction."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import grpc
import structlog
from aetcd import rpc
from attrs import frozen

from kv.keys import Key, Span
from kv.store import Store
from kv.txn import Stored
from schemas.errors import StoreUnavailable, UnreadableRecord

R = TypeVar("R")

log = structlog.get_logger()

IDLE_SECONDS: Final = 5.0
"""A stream that says nothing for so long is asked for progress; after as long again it counts as dead."""
ASK_SECONDS: Final = 0.5
"""How often a waiter asks for progress."""


@frozen
class Change(Generic[R]):
    """`old` is None for a new record, `new` for one that is gone."""

    old: Stored[R] | None
    new: Stored[R] | None

    @property
    def key(self) -> Key[R]:
        stored = self.new or self.old
        assert stored is not None
        return stored.key


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


class Cache(Generic[R]):
    """`run` keeps it current; `connected` says whether its stream is alive; read `items` at will."""

    def __init__(self, store: Store, span: Span[R], on_change: Callable[[Change[R]], None] | None = None) -> None:
        self.items: dict[str, Stored[R]] = {}
        """by path"""
        self.revision = 0
        """complete up to here"""
        self.connected = False
        self.synced = asyncio.Event()
        self._store = store
        self._span = span
        self._on_change = on_change
        self._moved = asyncio.Condition()
        self._stream: Any = None
        self._wanted = asyncio.Event()
        """somebody waits for progress"""

    def get(self, key: Key[R]) -> R | None:
        stored = self.items.get(key.path)
        return stored.value if stored else None

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
        found, revision = await self._store.snapshot(self._span, unreadable=_log_unreadable)
        fresh = {s.key.path: s for s in found}
        for path in self.items.keys() - fresh.keys():
            self._apply(path, None)
        for path, stored in fresh.items():
            before = self.items.get(path)
            if before is None or before.mod_revision != stored.mod_revision:
                self._apply(path, stored)
        await self._advance(revision)
        self.synced.set()

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
            path = event.kv.key.decode()[len(self._store.prefix) :]
            self._apply(path, None if event.type == rpc.Event.DELETE else self._readable(event.kv))
        # A long backlog comes in parts, each headed by the newest revision: only the last event tells how far it is.
        await self._advance(answer.events[-1].kv.mod_revision if answer.events else answer.header.revision)

    def _readable(self, kv: Any) -> Stored[R] | None:
        """A record that cannot be read counts as absent: its neighbours are of use without it."""
        try:
            return self._store.stored(self._span.cls, kv)
        except UnreadableRecord as error:
            _log_unreadable(error)
            return None

    def _apply(self, path: str, stored: Stored[R] | None) -> None:
        old = self.items.get(path)
        if stored is None:
            self.items.pop(path, None)
        else:
            self.items[path] = stored
        if self._on_change is not None and (old or stored):
            self._on_change(Change(old, stored))

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


def _log_unreadable(error: UnreadableRecord) -> None:
    log.error("unreadable record left out", reason=error.message)
