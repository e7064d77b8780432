"""All watches of one connection to etcd, on one stream.

The stream is opened again whenever it breaks, ends or falls silent, and each watch is resumed after the last revision
that is complete for it. All writing is done by the one task that owns the stream: a write or read that is cancelled
would end it for everybody.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary, ref

import grpc
import structlog
from aetcd import rpc
from attrs import define, field

from kv.backend import STALE_TOKEN, Backend, Stream
from kv.metrics import WATCH_BREAKS, WATCH_LAG
from kv.scan import slices
from schemas.errors import StoreUnavailable

log = structlog.get_logger()

IDLE_SECONDS: Final = 2.0
"""How often progress is asked for: a watch of which nothing is heard learns how far it is complete."""
PATIENCE_SECONDS: Final = 3.0
"""A stream that says nothing for so long after it was asked counts as dead."""
PAUSES: Final = (0.05, 1.0)
"""between the first and the later attempts to open a stream, in seconds"""

_ALL: Final = -1
"""the watch id of what concerns the whole stream"""
_LOST: Final = (
    StoreUnavailable,
    grpc.aio.AioRpcError,
    grpc.aio.UsageError,
    asyncio.InvalidStateError,
    ConnectionError,
    TimeoutError,
)
"""InvalidStateError is what grpc.aio raises on writing to a stream that has just broken."""
_PROGRESS: Final = rpc.WatchRequest(progress_request=rpc.WatchProgressRequest())


class Compacted(Exception):
    """The revision to resume at is gone: list again."""


@define(eq=False)
class Watch:
    """Of the keys in [start, end). `take(events, revision)` gets all that is after `revision`, in order, and how far it
    is complete now; no events: only that."""

    start: bytes
    end: bytes
    revision: int
    take: Callable[[Sequence[Any], int], None]
    connected: bool = False
    id: int = 0
    """on the present stream"""
    ended: asyncio.Future[None] = field(factory=lambda: asyncio.get_running_loop().create_future())

    def tell(self, events: Sequence[Any], revision: int) -> None:
        if self.ended.done():
            return  # what follows a gap is of no use
        try:
            self.take(events, revision)
        except Exception as error:
            self.fail(error)
        else:
            self.revision = max(self.revision, revision)

    def fail(self, error: BaseException) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)


class Watches:
    """The watches of one connection. The stream is there as long as there is one to follow."""

    def __init__(self, etcd: Backend) -> None:
        self._etcd = ref(etcd)
        self._watches: dict[Watch, None] = {}
        self._session: _Session | None = None
        self._task: asyncio.Task[None] | None = None

    async def follow(self, watch: Watch) -> None:
        """Until cancelled. Raises Compacted, StoreUnavailable when etcd refuses this watch, or what its `take` raises.
        The loss of etcd is survived."""
        self._watches[watch] = None
        if self._session is not None:
            self._session.create(watch)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="watches")
            self._task.add_done_callback(self._stopped)
        try:
            await watch.ended
        finally:
            self._leave(watch)

    def ask(self) -> None:
        """Have every watch told soon how far it is complete."""
        if self._session is not None:
            self._session.ask()

    def _leave(self, watch: Watch) -> None:
        del self._watches[watch]
        watch.connected = False
        if self._session is not None:
            self._session.drop(watch)
        if not self._watches and self._task is not None:
            self._task.cancel()
            self._task = self._session = None

    def _stopped(self, task: asyncio.Task[None]) -> None:
        """It never ends by itself, unless by a fault of its own, which everybody who depends on it hears of."""
        if task is self._task:
            self._task = None
            fault = None if task.cancelled() else task.exception()
            for watch in list(self._watches):
                watch.fail(fault or StoreUnavailable("the watches were cancelled"))

    async def _run(self) -> None:
        etcd = self._etcd()
        assert etcd is not None
        shortest, longest = PAUSES
        pause, told = shortest, False
        while True:
            session: _Session | None = None
            try:
                session = self._session = _Session(await etcd.watch_stream())
                for watch in self._watches:
                    session.create(watch)
                await session.run()
            except _LOST as error:
                if session is not None and session.heard:
                    pause, told = shortest, False
                if session is not None and isinstance(error, TimeoutError):
                    session.give_up()
                if not told:
                    log.warning("watches lost", etcd=etcd.target, reason=_reason(error))
                    told = True
                WATCH_BREAKS.inc()
            finally:
                if session is not None:
                    session.close()
                if self._session is session:
                    self._session = None
                    for watch in self._watches:
                        watch.connected = False
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)


class _Session:
    """One stream, until it breaks."""

    def __init__(self, stream: Stream) -> None:
        self.heard = False
        """etcd has answered at all"""
        self._stream = stream
        self._ids: dict[int, Watch] = {}
        self._creating: deque[Watch] = deque()
        """in the order in which etcd will answer"""
        self._outgoing: deque[Any] = deque()
        self._wanted = False
        """progress is to be asked for, once for all who want it now"""
        self._last_id = 0
        self._wake = asyncio.Event()
        self._clock = asyncio.get_running_loop().time
        self._silent_since: float | None = None
        """when it was asked for progress without having said anything since"""
        self._asked: float | None = None
        """when it was asked for the progress that it has not told yet"""

    def create(self, watch: Watch) -> None:
        self._last_id += 1
        watch.id = self._last_id
        self._ids[watch.id] = watch
        self._creating.append(watch)
        request = rpc.WatchCreateRequest(
            key=watch.start,
            range_end=watch.end,
            start_revision=watch.revision + 1,
            watch_id=watch.id,
            fragment=True,  # a backlog of large records would outgrow gRPC's messages
        )
        self._send(rpc.WatchRequest(create_request=request))

    def drop(self, watch: Watch) -> None:
        if self._ids.get(watch.id) is watch:
            del self._ids[watch.id]
            self._send(rpc.WatchRequest(cancel_request=rpc.WatchCancelRequest(watch_id=watch.id)))

    def ask(self) -> None:
        self._wanted = True
        self._wake.set()

    def close(self) -> None:
        self._stream.cancel()

    def give_up(self) -> None:
        """Its member is silent: the next stream goes to another one."""
        self._stream.give_up()

    async def run(self) -> None:
        """Raises one of _LOST when the stream is over."""
        reading = asyncio.create_task(self._read(), name="watch stream")
        reading.add_done_callback(lambda _: self._wake.set())
        next_ask = self._clock() + IDLE_SECONDS
        try:
            while not reading.done():
                self._wake.clear()
                await self._write()
                now = self._clock()
                if self._silent_since is not None and now - self._silent_since >= PATIENCE_SECONDS:
                    raise TimeoutError("etcd does not answer on the watch stream")
                if now >= next_ask:
                    next_ask = now + IDLE_SECONDS
                    self.ask()
                    continue
                until = next_ask if self._silent_since is None else self._silent_since + PATIENCE_SECONDS
                try:
                    async with asyncio.timeout(min(until, next_ask) - now):
                        await self._wake.wait()
                except TimeoutError:
                    continue
            if reading.cancelled():
                raise ConnectionError("the watch stream was closed")
            reading.result()
        finally:
            reading.cancel()

    def _send(self, request: Any) -> None:
        self._outgoing.append(request)
        self._wake.set()

    async def _write(self) -> None:
        while self._outgoing or self._wanted:
            request = self._outgoing.popleft() if self._outgoing else self._question()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._stream.write(request)

    def _question(self) -> Any:
        self._wanted = False
        now = self._clock()
        self._asked = now if self._asked is None else self._asked
        self._silent_since = now if self._silent_since is None else self._silent_since
        return _PROGRESS

    async def _read(self) -> None:
        while (answer := await self._stream.read()) is not grpc.aio.EOF:
            self.heard = True
            self._silent_since = None
            await self._take(answer)
        raise ConnectionError("etcd ended the watch stream")

    async def _take(self, answer: Any) -> None:
        if answer.created:
            self._created(self._creating.popleft(), answer)
        elif answer.watch_id == _ALL:
            self._progressed(answer.header.revision)
        elif (watch := self._ids.get(answer.watch_id)) is None:
            return  # it was left meanwhile
        elif answer.canceled:
            self._ended(watch, answer)
        else:
            told = 0
            async for events in slices(answer.events):
                told += len(events)
                last = told >= len(answer.events)
                watch.tell(events, _complete(answer) if last else int(events[-1].kv.mod_revision) - 1)

    def _created(self, watch: Watch, answer: Any) -> None:
        if any(reason in answer.cancel_reason for reason in STALE_TOKEN):
            raise ConnectionError("the token that the watch stream was opened with has expired")
        if answer.canceled:
            self._ids.pop(watch.id, None)
            watch.fail(StoreUnavailable(f"etcd refused a watch: {answer.cancel_reason}"))
        else:
            watch.connected = watch.id in self._ids

    def _progressed(self, revision: int) -> None:
        """Of all watches: etcd says so only when each was sent all that there is."""
        if self._asked is not None:
            WATCH_LAG.observe(self._clock() - self._asked)
            self._asked = None
        for watch in list(self._ids.values()):
            if watch.connected:
                watch.tell((), revision)

    def _ended(self, watch: Watch, answer: Any) -> None:
        """etcd keeps a watch whose past was compacted, and with it all progress of the stream, until it is cancelled:
        `drop` follows."""
        if answer.compact_revision:
            watch.fail(Compacted())
        else:
            watch.fail(StoreUnavailable(f"etcd cancelled a watch: {answer.cancel_reason}"))


def _reason(error: Exception) -> str:
    return (error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)) or repr(error)


def _complete(answer: Any) -> int:
    """A long past comes in parts, each headed by the newest revision, so only the last event tells how far it is; a
    revision that is itself sent in parts is complete with the last of them."""
    last = int(answer.events[-1].kv.mod_revision) if answer.events else int(answer.header.revision)
    return last - 1 if answer.fragment else last


_watches: Final[WeakKeyDictionary[Backend, Watches]] = WeakKeyDictionary()


def watches_of(etcd: Backend) -> Watches:
    """The ones of this connection."""
    found = _watches.get(etcd)
    if found is None:
        found = _watches[etcd] = Watches(etcd)
    return found
