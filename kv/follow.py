"""Following a span of keys: listed once, followed by revision, listed again only after a compaction.

A second list costs what changed: its keys are compared with what is held, and only what was written since is read.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any, Final

import grpc
import structlog
from aetcd import rpc

from kv.keys import Span
from kv.scan import answers, slices
from kv.store import Store
from kv.watches import Compacted, Watch, watches_of
from schemas.errors import StoreUnavailable

log = structlog.get_logger()

ASK_SECONDS: Final = 0.5
"""How often a waiter asks for progress."""
PAUSES: Final = (0.05, 1.0)
"""between the first and the later attempts to list, in seconds"""

_LOST: Final = (StoreUnavailable, grpc.aio.AioRpcError, grpc.aio.UsageError)


class Follower(ABC):
    """`run` keeps it current. All that follow something on one etcd connection share its watch stream."""

    def __init__(self, store: Store, span: Span[Any]) -> None:
        self.revision = 0
        """complete up to here"""
        self.synced = asyncio.Event()
        self._store = store
        self._span = span
        self._watches = watches_of(store.etcd)
        self._watch: Watch | None = None
        self._waiting: dict[asyncio.Future[None], int] = {}
        """for what revision"""

    @property
    def connected(self) -> bool:
        """Whether its watch is alive."""
        return self._watch is not None and self._watch.connected

    @abstractmethod
    def held(self) -> Collection[str]:
        """The paths of all that it knows to exist."""

    @abstractmethod
    def take(self, path: str, kv: Any, revision: int) -> None:
        """What is true of a path since `revision`: its KeyValue, or None when it is gone. May repeat what is known."""

    async def wait_until(self, revision: int, seconds: float | None = None) -> None:
        """Returns when the copy holds every write up to `revision`, however often the stream breaks until then.

        `seconds`: how long that may take; None: as long as a call to etcd.
        Raises: StoreUnavailable when it takes longer.
        """
        try:
            async with asyncio.timeout(self._store.etcd.timeout if seconds is None else seconds):
                while self.revision < revision:
                    await self._moved(revision)
        except TimeoutError:
            raise StoreUnavailable(
                f"the watch of {self._store.prefix}{self._span.start} at {self._store.etcd.target} is behind: it is "
                f"complete up to revision {self.revision}, not {revision}"
            ) from None

    async def _moved(self, revision: int) -> None:
        moved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[moved] = revision
        self.ask()
        try:
            # The question may be lost with its stream, or come before etcd has sent all of a backlog.
            await asyncio.wait([moved], timeout=ASK_SECONDS)
        finally:
            del self._waiting[moved]

    def ask(self) -> None:
        """Has etcd say how far the watch is, though nothing may have changed."""
        self._watches.ask()

    async def run(self) -> None:
        """Until cancelled. Survives the loss of etcd and compaction."""
        shortest, longest = PAUSES
        pause = shortest
        while True:
            try:
                if not self.synced.is_set():
                    await self._list()
                pause = shortest
                await self._follow()
            except Compacted:
                self.synced.clear()
                continue
            except _LOST as error:
                if pause == shortest:  # told once, not at each attempt
                    log.warning("not followed", span=self._store.prefix + self._span.start, reason=str(error)[:500])
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)

    async def _list(self) -> None:
        """As of one revision; what is gone is told first. What was complete before is not read again."""
        start, end, etcd = self._full(self._span.start), self._full(self._span.end), self._store.etcd
        known, revision, ranges = self.revision, 0, [(start, end)]
        gone = set(self.held())
        if again := bool(gone):
            ranges = []
            async for answer in answers(etcd, start, end, revision=0, keys_only=True):
                revision = revision or answer.header.revision
                gone.difference_update(self._path(kv.key) for kv in answer.kvs)
                if any(kv.mod_revision > known for kv in answer.kvs):
                    ranges.append((answer.kvs[0].key, answer.kvs[-1].key + b"\0"))
                await asyncio.sleep(0)
            async for paths in slices(list(gone)):
                for path in paths:
                    self.take(path, None, revision)
        for first, after in ranges:
            async for answer in answers(etcd, first, after, revision=revision, after=known if again else 0):
                revision = revision or answer.header.revision
                async for kvs in slices(answer.kvs):
                    for kv in kvs:
                        self.take(self._path(kv.key), kv, kv.mod_revision)
        self.advance(revision)
        self.synced.set()

    async def _follow(self) -> None:
        start, end = self._full(self._span.start), self._full(self._span.end)
        self._watch = Watch(start, end, self.revision, self._take)
        await self._watches.follow(self._watch)

    def _take(self, events: Sequence[Any], revision: int) -> None:
        for event in events:
            kv = event.kv
            self.take(self._path(kv.key), None if event.type == rpc.Event.DELETE else kv, kv.mod_revision)
        self.advance(revision)

    def advance(self, revision: int) -> None:
        """The copy is complete up to here."""
        self.revision = max(self.revision, revision)
        for moved, wanted in self._waiting.items():
            if wanted <= self.revision and not moved.done():
                moved.set_result(None)

    def _full(self, path: str) -> bytes:
        return (self._store.prefix + path).encode()

    def _path(self, key: bytes) -> str:
        return key.decode()[len(self._store.prefix) :]
