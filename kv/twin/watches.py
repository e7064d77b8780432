"""Who watches which keys, and what they are told: a batch for each revision, in the order of revisions."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from aetcd import rpc
from attrs import define

from kv.twin.faults import Faults
from kv.twin.mvcc import EVERYTHING, Change, Mvcc, within
from kv.twin.streams import TwinStream, header

K = TypeVar("K")

HISTORY_BATCH: Final = 1000
"""revisions of the past that etcd sends at once; each batch bears the present revision, though more may follow"""
_AUTOMATIC: Final = 0
_ALL: Final = -1
"""the watch id of answers for the whole stream, and of a watch that could not be made"""


@define(eq=False)
class Watch:
    id: int
    stream: "WatchStream"
    start: bytes
    end: bytes
    revision: int
    """the first that it wants"""
    prev_kv: bool
    puts: bool
    deletes: bool
    compacted: bool = False

    def tell(self, mvcc: Mvcc, changes: Iterable[Change], revision: int) -> None:
        events = [
            _event(mvcc, change, self.prev_kv)
            for change in changes
            if change.revision >= self.revision and (self.deletes if change.new is None else self.puts)
        ]
        if events:
            self.stream.push(rpc.WatchResponse(header=header(revision), watch_id=self.id, events=events))


class Watches:
    """All of a cluster. Watches of the same keys are matched once."""

    def __init__(self) -> None:
        self._by_range: dict[tuple[bytes, bytes], dict[Watch, None]] = {}
        self._by_key: dict[bytes, dict[Watch, None]] = {}

    def add(self, watch: Watch) -> None:
        if watch.end:
            self._by_range.setdefault((watch.start, watch.end), {})[watch] = None
        else:
            self._by_key.setdefault(watch.start, {})[watch] = None

    def remove(self, watch: Watch) -> None:
        if watch.end:
            _discard(self._by_range, (watch.start, watch.end), watch)
        else:
            _discard(self._by_key, watch.start, watch)

    def publish(self, mvcc: Mvcc, changes: list[Change]) -> None:
        told: dict[Watch, list[Change]] = {}
        for change in changes:
            for watch in self._watching(change.key):
                told.setdefault(watch, []).append(change)
        for watch, seen in told.items():
            watch.tell(mvcc, seen, mvcc.revision)

    def _watching(self, key: bytes) -> Iterator[Watch]:
        yield from self._by_key.get(key, ())
        for (start, end), watches in self._by_range.items():
            if start <= key and (key < end or end == EVERYTHING):
                yield from watches


class WatchStream(TwinStream):
    """Many watches by their ids."""

    name = "watch"

    def __init__(
        self, mvcc: Mvcc, watches: Watches, faults: Faults | None, forget: Callable[[TwinStream], None]
    ) -> None:
        super().__init__(faults, forget)
        self._mvcc = mvcc
        self._all = watches
        self._own: dict[int, Watch] = {}
        self._next_id = 0

    def take(self, request: rpc.WatchRequest) -> None:
        kind = request.WhichOneof("request_union")
        if kind == "create_request":
            self._create(request.create_request)
        elif kind == "cancel_request":
            self._cancel(request.cancel_request.watch_id)
        elif kind == "progress_request":
            self._report_progress()

    def leave(self) -> None:
        for watch in self._own.values():
            self._all.remove(watch)
        super().leave()

    def _create(self, request: rpc.WatchCreateRequest) -> None:
        now = self._mvcc.revision
        start, end = request.key or EVERYTHING, request.range_end
        if end and end != EVERYTHING and start >= end:
            self._refuse("mvcc: watcher range is empty")
            return
        if request.watch_id in self._own and request.watch_id != _AUTOMATIC:
            self._refuse("mvcc: duplicate watch ID provided on the WatchStream")
            return
        watch = Watch(
            id=request.watch_id or self._free_id(),
            stream=self,
            start=start,
            end=end,
            revision=request.start_revision or now + 1,
            prev_kv=request.prev_kv,
            puts=rpc.WatchCreateRequest.NOPUT not in request.filters,
            deletes=rpc.WatchCreateRequest.NODELETE not in request.filters,
        )
        self._own[watch.id] = watch
        self.push(rpc.WatchResponse(header=header(now), watch_id=watch.id, created=True))
        if watch.revision <= now:
            if watch.revision < self._mvcc.compacted:
                self._give_up(watch)
                return
            self._tell_history(watch)
        self._all.add(watch)

    def _free_id(self) -> int:
        while self._next_id in self._own:
            self._next_id += 1
        self._next_id += 1
        return self._next_id - 1

    def _refuse(self, reason: str) -> None:
        self.push(
            rpc.WatchResponse(
                header=header(self._mvcc.revision), watch_id=_ALL, created=True, canceled=True, cancel_reason=reason
            )
        )

    def _give_up(self, watch: Watch) -> None:
        """The past that it wants is gone. As in etcd it keeps its id, and holds up all reports of progress on the
        stream, until the client cancels it."""
        watch.compacted = True
        self.push(
            rpc.WatchResponse(header=header(0), watch_id=watch.id, canceled=True, compact_revision=self._mvcc.compacted)
        )

    def _tell_history(self, watch: Watch) -> None:
        past = [c for c in self._mvcc.since(watch.revision) if within(c.key, watch.start, watch.end)]
        batch: list[Change] = []
        revisions = 0
        for change in past:
            if not batch or change.revision != batch[-1].revision:
                if revisions == HISTORY_BATCH:
                    watch.tell(self._mvcc, batch, self._mvcc.revision)
                    batch, revisions = [], 0
                revisions += 1
            batch.append(change)
        watch.tell(self._mvcc, batch, self._mvcc.revision)

    def _cancel(self, watch_id: int) -> None:
        watch = self._own.pop(watch_id, None)
        if watch is not None:
            self._all.remove(watch)
            self.push(rpc.WatchResponse(header=header(self._mvcc.revision), watch_id=watch_id, canceled=True))

    def _report_progress(self) -> None:
        if self._own and not any(watch.compacted for watch in self._own.values()):
            self.push(rpc.WatchResponse(header=header(self._mvcc.revision), watch_id=_ALL))


def _event(mvcc: Mvcc, change: Change, prev_kv: bool) -> rpc.Event:
    if change.new is None:
        kv = rpc.KeyValue(key=change.key, mod_revision=change.revision)
        event = rpc.Event(type=rpc.Event.DELETE, kv=kv)
    else:
        event = rpc.Event(type=rpc.Event.PUT, kv=change.new)
    if prev_kv and change.old is not None and change.revision > mvcc.compacted:
        event.prev_kv.CopyFrom(change.old)
    return event


def _discard(groups: dict[K, dict[Watch, None]], group: K, watch: Watch) -> None:
    watches = groups.get(group)
    if watches is not None:
        watches.pop(watch, None)
        if not watches:
            del groups[group]
