"""The contract of `kv.watches`: one stream for all of a connection's watches, none of which harms another, each resumed
after the last revision that is complete for it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from aetcd import rpc
from attrs import define, field
from etcd_labs import Lab
from prometheus_client import REGISTRY
from substrate import eventually

from kv import scan, watches
from kv.cache import Cache, Change
from kv.keys import Family
from kv.store import Store
from kv.txn import Txn
from kv.watches import Compacted, Watch, Watches
from schemas.errors import StoreUnavailable

NOTES = Family("notes/{box}/{name}", str)


@define(eq=False)
class Counted:
    """The streams that a connection opened."""

    streams: list[Any] = field(factory=list)


@pytest.fixture
def counted(store: Store, monkeypatch: pytest.MonkeyPatch) -> Counted:
    made, open_stream = Counted(), store.etcd.watch_stream

    async def watch_stream() -> Any:
        made.streams.append(await open_stream())
        return made.streams[-1]

    monkeypatch.setattr(store.etcd, "watch_stream", watch_stream)
    return made


@asynccontextmanager
async def running(*caches: Cache[str]) -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks = [asyncio.create_task(cache.run()) for cache in caches]
    try:
        await eventually(lambda: all(cache.connected for cache in caches), 30)
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def texts(cache: Cache[str]) -> dict[str, str]:
    return {path.rsplit("/", 1)[1]: stored.value for path, stored in cache.items.items()}


async def write(store: Store, box: str, name: str, text: str) -> int:
    return await store.commit(Txn("write").put(NOTES(box, name), text))


# Caches on one stream


async def test_all_of_a_connection_share_a_stream(store: Store, counted: Counted) -> None:
    neighbour = Store(store.etcd, f"{store.prefix.rstrip('/')}-neighbour/")
    stores = [store, neighbour]
    caches = [Cache(s, NOTES.under(str(n), "")) for s in stores for n in range(6)]
    async with running(*caches):
        for n in range(6):
            for s, text in zip(stores, ("here", "there"), strict=True):
                revision = await write(s, str(n), "a", f"{text} {n}")
        async with asyncio.timeout(30):
            await asyncio.gather(*(cache.wait_until(revision) for cache in caches))
        assert [texts(c)["a"] for c in caches] == [f"{text} {n}" for text in ("here", "there") for n in range(6)]
        assert len(counted.streams) == 1


async def test_they_come_and_go_as_they_like(store: Store, counted: Counted) -> None:
    first, second = Cache(store, NOTES.under("1", "")), Cache(store, NOTES.under("2", ""))
    async with running(first):
        async with running(second):
            revision = await write(store, "2", "a", "1")
            async with asyncio.timeout(30):
                await second.wait_until(revision)
        assert not second.connected
        await write(store, "2", "a", "missed")
        revision = await write(store, "1", "a", "seen")
        async with asyncio.timeout(30):
            await first.wait_until(revision)
        assert (texts(first), texts(second)) == ({"a": "seen"}, {"a": "1"})
        async with running(second):
            await eventually(lambda: texts(second) == {"a": "missed"}, 30)
        assert len(counted.streams) == 1
    async with running(second):
        assert len(counted.streams) == 2, "nobody was left on the first"


async def test_a_compacted_past_is_listed_again_and_nobody_else_notices(lab: Lab) -> None:
    """etcd tells no progress on a stream with a watch that it has cancelled for compaction."""
    store = Store(lab.backend, "w/")
    behind, current = Cache(store, NOTES.under("1", "")), Cache(store, NOTES.under("2", ""))
    async with running(behind, current):
        pass
    await write(store, "1", "a", "1")
    await write(store, "1", "b", "1")
    async with running(current):
        revision = await write(store, "1", "a", "2")
        await lab.compact_at(revision)
        async with running(behind):
            revision = await write(store, "3", "elsewhere", "x")
            async with asyncio.timeout(30):
                await asyncio.gather(behind.wait_until(revision), current.wait_until(revision))
            assert texts(behind) == {"a": "2", "b": "1"}


async def test_a_fault_in_what_one_does_with_its_news_is_its_own(store: Store, counted: Counted) -> None:
    def fail(_: Change[str]) -> None:
        raise ZeroDivisionError("a fault of the listener's")

    faulty, sound = Cache(store, NOTES.under("1", ""), fail), Cache(store, NOTES.under("2", ""))
    async with running(faulty, sound) as tasks:
        await write(store, "1", "a", "1")
        revision = await write(store, "2", "a", "1")
        async with asyncio.timeout(30):
            await sound.wait_until(revision)
        await eventually(tasks[0].done, 30)
        assert isinstance(tasks[0].exception(), ZeroDivisionError)
        assert not tasks[1].done()
        assert len(counted.streams) == 1


async def test_a_quiet_watch_on_a_busy_stream_learns_how_far_it_is(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would have to list again after a compaction of a past that it never had to know."""
    monkeypatch.setattr(watches, "IDLE_SECONDS", 0.05)
    busy, quiet = Cache(store, NOTES.under("busy", "")), Cache(store, NOTES.under("quiet", ""))
    name = "kilonova_store_watch_lag_seconds_count"
    measured = REGISTRY.get_sample_value(name) or 0
    async with running(busy, quiet):
        began = quiet.revision

        async def moved() -> bool:
            await write(store, "busy", "a", "x")
            return quiet.revision > began

        await eventually(moved, 30)
    assert (REGISTRY.get_sample_value(name) or 0) > measured


@pytest.mark.parametrize("connect", ["etcd"], indirect=True)
async def test_a_large_past_comes_in_messages_of_bearable_size(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a batch came as one message, which gRPC refuses when it is too large: the watch could never resume."""
    cache, sizes = Cache(store, NOTES.under("1", "")), []
    async with running(cache):
        pass
    for n in range(8):
        revision = await write(store, "1", "a", f"{n}" * 1_000_000)
    told = watches._Session._take

    async def take(session: Any, answer: Any) -> None:
        sizes.append(answer.ByteSize())
        await told(session, answer)

    monkeypatch.setattr(watches._Session, "_take", take)
    async with running(cache), asyncio.timeout(30):
        await cache.wait_until(revision)
        assert texts(cache)["a"][0] == "7"
    assert max(sizes) < 4_000_000, sizes


# A stream that says what we want


class Script:
    """A stream that is told what to answer; it remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.given_up = False
        self._answers: asyncio.Queue[Any] = asyncio.Queue()

    async def write(self, request: Any) -> None:
        self.asked.append(request)

    async def read(self) -> Any:
        answer = await self._answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def cancel(self) -> bool:
        return True

    def give_up(self) -> None:
        self.given_up = True

    def say(self, answer: Any) -> None:
        self._answers.put_nowait(answer)

    def created(self, watch: int, **more: Any) -> None:
        self.say(rpc.WatchResponse(watch_id=watch, created=True, **more))

    def events(self, watch: int, *revisions: int, head: int = 99, fragment: bool = False) -> None:
        found = [rpc.Event(kv=rpc.KeyValue(key=b"k", mod_revision=r)) for r in revisions]
        header = rpc.ResponseHeader(revision=head)
        self.say(rpc.WatchResponse(header=header, watch_id=watch, events=found, fragment=fragment))

    @property
    def creations(self) -> list[tuple[int, int]]:
        """Watch and revision that it starts at."""
        requests = [a.create_request for a in self.asked if a.HasField("create_request")]
        return [(r.watch_id, r.start_revision) for r in requests]

    @property
    def questions(self) -> int:
        return sum(a.HasField("progress_request") for a in self.asked)

    @property
    def cancelled(self) -> list[int]:
        return [a.cancel_request.watch_id for a in self.asked if a.HasField("cancel_request")]


class Scripts:
    """A backend with nothing but watch streams."""

    target = "a script"

    def __init__(self) -> None:
        self.opened: list[Script] = []

    async def watch_stream(self) -> Script:
        self.opened.append(Script())
        return self.opened[-1]

    async def stream(self, number: int) -> Script:
        await eventually(lambda: len(self.opened) > number and self.opened[number].asked, 30)
        return self.opened[number]


@define(eq=False)
class Followed:
    """A watch from revision 10 on, with what it was told."""

    told: list[tuple[list[int], int]] = field(factory=list)
    watch: Watch = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.watch = Watch(b"k", b"l", 10, self._take)

    def _take(self, events: Sequence[Any], revision: int) -> None:
        self.told.append(([e.kv.mod_revision for e in events], revision))


@pytest.fixture
async def scripts() -> Scripts:
    return Scripts()


@pytest.fixture
async def follow(scripts: Scripts) -> AsyncIterator[Callable[[Followed], asyncio.Task[None]]]:
    made, tasks = Watches(scripts), []  # type: ignore[arg-type]

    def start(followed: Followed) -> asyncio.Task[None]:
        tasks.append(asyncio.create_task(made.follow(followed.watch)))
        return tasks[-1]

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


Follow = Callable[[Followed], asyncio.Task[None]]


@pytest.mark.parametrize(
    ("fragment", "resumed_at"), [(False, 13), (True, 12)], ids=["whole revisions", "a part of the last revision"]
)
async def test_a_broken_stream_is_resumed_after_the_last_complete_revision(
    scripts: Scripts, follow: Follow, fragment: bool, resumed_at: int
) -> None:
    """The head of each part bears the newest revision of all: who resumed there missed the rest."""
    followed = Followed()
    follow(followed)
    stream = await scripts.stream(0)
    assert stream.creations == [(1, 11)]
    stream.created(1)
    stream.events(1, 11, 12, 12, fragment=fragment)
    stream.say(grpc.aio.EOF)
    assert (await scripts.stream(1)).creations == [(1, resumed_at)]
    assert followed.told == [([11, 12, 12], resumed_at - 1)]
    assert not followed.watch.connected


async def test_progress_counts_only_for_whom_etcd_knew(scripts: Scripts, follow: Follow) -> None:
    early, late = Followed(), Followed()
    follow(early)
    stream = await scripts.stream(0)
    stream.created(1)
    await eventually(lambda: early.watch.connected)
    follow(late)
    await eventually(lambda: len(stream.creations) == 2)
    stream.say(rpc.WatchResponse(header=rpc.ResponseHeader(revision=50), watch_id=-1))
    stream.created(2)
    await eventually(lambda: late.watch.connected)
    assert (early.told, late.told) == ([([], 50)], [])


async def test_many_who_want_progress_ask_once(scripts: Scripts) -> None:
    made = Watches(scripts)  # type: ignore[arg-type]
    task = asyncio.create_task(made.follow(Followed().watch))
    stream = await scripts.stream(0)
    for _ in range(50):
        made.ask()
    await eventually(lambda: stream.questions)
    assert stream.questions == 1
    made.ask()
    await eventually(lambda: stream.questions == 2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_refused_watch_and_a_cancelled_one_harm_no_other(scripts: Scripts, follow: Follow) -> None:
    refused, cancelled, compacted, well = Followed(), Followed(), Followed(), Followed()
    tasks = [follow(f) for f in (refused, cancelled, compacted, well)]
    stream = await scripts.stream(0)
    await eventually(lambda: len(stream.creations) == 4)
    stream.created(-1, canceled=True, cancel_reason="permission denied")
    for watch in (2, 3, 4):
        stream.created(watch)
    stream.say(rpc.WatchResponse(watch_id=2, canceled=True, cancel_reason="some reason"))
    stream.say(rpc.WatchResponse(watch_id=3, canceled=True, compact_revision=40))
    stream.events(4, 11)
    await eventually(lambda: well.told == [([11], 11)])
    await asyncio.wait(tasks[:3], timeout=30)
    faults = [task.exception() for task in tasks[:3]]
    assert [type(f) for f in faults] == [StoreUnavailable, StoreUnavailable, Compacted]
    assert "permission denied" in str(faults[0])
    assert "some reason" in str(faults[1])
    await eventually(lambda: 3 in stream.cancelled)
    assert not tasks[3].done()
    assert len(scripts.opened) == 1


async def test_what_is_said_to_one_that_left_reaches_nobody(scripts: Scripts, follow: Follow) -> None:
    gone, well = Followed(), Followed()
    task = follow(gone)
    follow(well)
    stream = await scripts.stream(0)
    await eventually(lambda: len(stream.creations) == 2)
    task.cancel()
    await eventually(lambda: stream.cancelled == [1])
    stream.created(1)
    stream.created(2)
    stream.events(1, 11)
    stream.say(rpc.WatchResponse(watch_id=1, canceled=True))
    stream.events(2, 12)
    await eventually(lambda: well.told == [([12], 12)])
    assert gone.told == []
    assert not gone.watch.connected


async def test_a_stream_that_is_silent_after_a_question_is_given_up(
    scripts: Scripts, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(watches, "PATIENCE_SECONDS", 0.2)
    followed = Followed()
    follow(followed)
    first = await scripts.stream(0)
    first.created(1)
    first.events(1, 11)
    second = await scripts.stream(1)
    assert first.questions
    assert first.given_up, "the next stream went to the same silent member"
    assert second.creations == [(1, 12)]


async def test_a_large_past_leaves_the_loop_to_others_and_is_complete_in_order(
    scripts: Scripts, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message holds thousands of events, which were all decoded in one turn of the loop."""
    monkeypatch.setattr(scan, "SLICE", 2)
    followed = Followed()
    follow(followed)
    stream = await scripts.stream(0)
    stream.created(1)
    stream.events(1, 11, 12, 12, 12, 13)
    await eventually(lambda: followed.watch.revision == 13)
    assert followed.told == [([11, 12], 11), ([12, 12], 11), ([13], 13)]
