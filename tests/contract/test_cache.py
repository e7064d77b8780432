"""The contract of `kv.cache.Cache`: a copy of a span that misses nothing, whatever etcd goes through."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from aetcd import rpc
from attrs import define, field, frozen
from etcd_labs import Lab
from substrate import EtcdServer, eventually

from kv import scan, watches
from kv.cache import Cache, Change
from kv.client import Etcd
from kv.keys import Family
from kv.store import Store
from kv.txn import Txn
from schemas.codec import record
from schemas.errors import StoreUnavailable
from schemas.settings import StoreSettings


@record(1)
@frozen
class Note:
    text: str


NOTES = Family("notes/{name}", Note)
OTHERS = Family("others/{name}", Note)


@define(eq=False)
class Watched:
    """A cache with what it told, checked for the promise that all up to its revision was told before."""

    store: Store
    cache: Cache[Note] = field(init=False)
    told: list[tuple[str, str | None, str | None]] = field(factory=list)
    task: asyncio.Task[None] | None = None

    def __attrs_post_init__(self) -> None:
        self.cache = Cache(self.store, NOTES.under(), self._changed)

    def _changed(self, change: Change[Note]) -> None:
        if change.new:
            assert change.new.mod_revision > self.cache.revision, "a change came after its revision was complete"
        name = change.key.path.rsplit("/", 1)[1]
        old, new = change.old and change.old.value.text, change.new and change.new.value.text
        self.told.append((name, old, new))

    @property
    def texts(self) -> dict[str, str]:
        return {path.rsplit("/", 1)[1]: s.value.text for path, s in self.cache.items.items()}

    def start(self) -> None:
        self.task = asyncio.create_task(self.cache.run())

    async def stop(self) -> None:
        if self.task:
            self.task.cancel()
            with suppress(asyncio.CancelledError):
                await self.task


@asynccontextmanager
async def watching(store: Store) -> AsyncIterator[Watched]:
    watched = Watched(store)
    watched.start()
    try:
        async with asyncio.timeout(30):
            await watched.cache.synced.wait()
            await eventually(lambda: watched.cache.connected)
        yield watched
        assert watched.task
        assert not watched.task.done(), watched.task
    finally:
        await watched.stop()


@pytest.fixture
async def fragile(fragile_etcd: EtcdServer, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    etcd = Etcd(StoreSettings(endpoints=(fragile_etcd.endpoint,), timeout=1.0))
    yield Store(etcd, f"{request.node.name}/")
    await etcd.close()


async def write(store: Store, **notes: str | None) -> int:
    """None deletes."""
    txn = Txn("write")
    for name, text in notes.items():
        if text is None:
            txn.delete(NOTES(name))
        else:
            txn.put(NOTES(name), Note(text))
    return await store.commit(txn)


async def when_it_answers(call: Callable[[], Awaitable[int]]) -> int:
    async with asyncio.timeout(30):
        while True:
            try:
                return await call()
            except StoreUnavailable:
                await asyncio.sleep(0.05)


async def current(watched: Watched, revision: int) -> dict[str, str]:
    async with asyncio.timeout(30):
        await watched.cache.wait_until(revision)
    return watched.texts


async def test_it_lists_then_follows(store: Store) -> None:
    await write(store, a="1", b="1")
    async with watching(store) as watched:
        assert watched.texts == {"a": "1", "b": "1"}
        revision = await write(store, a="2", b=None, c="1")
        assert await current(watched, revision) == {"a": "2", "c": "1"}
        assert watched.told == [
            ("a", None, "1"),
            ("b", None, "1"),
            ("a", "1", "2"),
            ("b", "1", None),
            ("c", None, "1"),
        ]
        assert watched.cache.get(NOTES("a")) == Note("2")
        assert watched.cache.get(NOTES("b")) is None


async def test_a_long_list_comes_in_pages_of_one_revision(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "PAGE", 3)
    for count in (6, 7):
        await write(store, **{f"n{i}": "1" for i in range(count)})
        async with watching(store) as watched:
            assert watched.texts == {f"n{i}": "1" for i in range(count)}


async def test_what_a_lease_ends_is_told(store: Store) -> None:
    lease = await store.etcd.grant(60)
    await store.commit(Txn("write").put(NOTES("a"), Note("1"), lease))
    async with watching(store) as watched:
        await store.etcd.revoke(lease)
        await eventually(lambda: watched.texts == {})


async def test_waiting_for_writes_outside_of_the_span_ends_too(store: Store) -> None:
    async with watching(store) as watched:
        for n in range(5):
            revision = await store.commit(Txn("write").put(OTHERS(str(n)), Note("x")))
            assert await current(watched, revision) == {}
        assert watched.cache.revision >= revision


async def test_many_may_wait_at_once(store: Store) -> None:
    async with watching(store) as watched:
        revisions = [await store.commit(Txn("write").put(OTHERS(str(n)), Note("x"))) for n in range(100)]
        async with asyncio.timeout(30):
            await asyncio.gather(*(watched.cache.wait_until(r) for r in revisions))


async def test_no_revision_counts_as_complete_before_its_changes_came(store: Store) -> None:
    """etcd sends a long backlog in parts, each headed by its newest revision; a stream that broke in between resumed
    behind changes that had never come."""
    async with watching(store) as watched:
        await watched.stop()
        key = (store.prefix + NOTES("a").path).encode()
        for start in range(0, 3000, 100):
            puts = (
                rpc.TxnRequest(success=[_put(key, b'{"record":"Note/1","text":"%d"}' % n)])
                for n in range(start, start + 100)
            )
            await asyncio.gather(*(store.etcd.txn(put, writes=True) for put in puts))
        revision = await write(store, a="last")
        watched.start()  # `told` asserts
        assert await current(watched, revision) == {"a": "last"}
        assert len(watched.told) == 3001


async def test_a_killed_etcd_costs_nothing_but_time(fragile: Store, fragile_etcd: EtcdServer) -> None:
    await write(fragile, a="1", b="1")
    async with watching(fragile) as watched:
        fragile_etcd.kill()
        await eventually(lambda: not watched.cache.connected)
        assert watched.texts == {"a": "1", "b": "1"}
        fragile_etcd.start()
        revision = await when_it_answers(lambda: write(fragile, a="2", b=None, c="1"))
        assert await current(watched, revision) == {"a": "2", "c": "1"}
        assert watched.told[2:] == [("a", "1", "2"), ("b", "1", None), ("c", None, "1")]


async def test_waiting_lasts_over_the_loss_of_etcd(fragile: Store, fragile_etcd: EtcdServer) -> None:
    """A waiter got gRPC's own error when the stream broke under it."""
    async with watching(fragile) as watched:
        revision = await write(fragile, a="1")
        await current(watched, revision)
        fragile_etcd.kill()
        waiters = [asyncio.create_task(watched.cache.wait_until(revision + n, 30)) for n in (1, 1, 1)]
        await eventually(lambda: not watched.cache.connected)
        waiters.append(asyncio.create_task(watched.cache.wait_until(revision + 1, 30)))
        fragile_etcd.start()
        await when_it_answers(lambda: fragile.commit(Txn("write").put(OTHERS("x"), Note("x"))))
        async with asyncio.timeout(30):
            await asyncio.gather(*waiters)


async def test_what_was_compacted_meanwhile_is_listed_again(fragile: Store, fragile_etcd: EtcdServer) -> None:
    await write(fragile, same="1", changed="1", gone="1")
    async with watching(fragile) as watched:
        await watched.stop()
        before = len(watched.told)
        await write(fragile, changed="2", gone=None)
        await write(fragile, changed="3", new="1", brief="1")
        revision = await write(fragile, brief=None)
        fragile_etcd.compact(revision)
        watched.start()
        assert await current(watched, revision) == {"same": "1", "changed": "3", "new": "1"}
        assert sorted(watched.told[before:]) == [
            ("changed", "1", "3"),
            ("gone", "1", None),
            ("new", None, "1"),
        ]
        assert await current(watched, await write(fragile, same=None)) == {"changed": "3", "new": "1"}


async def test_a_second_list_reads_only_what_was_written_since(
    fragile: Store, fragile_etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a compaction all keys came in one message, which from 745,000 allocations on is larger than the client
    accepts, and every record was read and decoded again."""
    await write(fragile, **{f"n{n:03}": "1" for n in range(100)})
    async with watching(fragile) as watched:
        await watched.stop()
        before = len(watched.told)
        await write(fragile, n050="2", n051=None)
        fragile_etcd.compact(await write(fragile, brief="1"))
        messages: list[rpc.RangeResponse] = []
        asked = fragile.etcd.range

        async def range_(request: rpc.RangeRequest) -> rpc.RangeResponse:
            messages.append(await asked(request))
            return messages[-1]

        monkeypatch.setattr(fragile.etcd, "range", range_)
        monkeypatch.setattr(scan, "KEYS_PAGE", 10)
        watched.start()
        texts = await current(watched, await write(fragile, n052="2"))
        assert (texts["n050"], texts["n052"], "n051" in texts, len(texts)) == ("2", "2", False, 100)
        assert sorted(watched.told[before:]) == [
            ("brief", None, "1"),
            ("n050", "1", "2"),
            ("n051", "1", None),
            ("n052", "1", "2"),
        ]
        assert max(len(m.kvs) for m in messages) <= 10
        assert sum(1 for m in messages for kv in m.kvs if kv.value) <= 3


async def test_a_first_list_goes_on_after_a_compaction_in_its_middle(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long list as of one revision outlives etcd's history, which is kept for five minutes: it began from nothing
    each time and decoded everything again."""
    store = Store(lab.backend, "w/")
    await write(store, **{f"n{n:03}": "1" for n in range(100)})
    monkeypatch.setattr(scan, "PAGE", 10)
    monkeypatch.setattr(scan, "KEYS_PAGE", 10)
    asked, ranges = store.etcd.range, 0

    async def range_(request: rpc.RangeRequest) -> rpc.RangeResponse:
        nonlocal ranges
        ranges += 1
        if ranges == 5:
            await write(store, n000="2", n001=None)
            await lab.compact_at(await write(store, n099="2"))
        return await asked(request)

    monkeypatch.setattr(store.etcd, "range", range_)
    async with watching(store) as watched:
        assert len(watched.texts) == 99
        assert {name for name, text in watched.texts.items() if text == "2"} == {"n000", "n099"}
        assert len(watched.told) == 102, "n000 and n001 were seen before they changed; nothing else was told twice"


async def test_a_long_list_leaves_the_loop_to_others(store: Store) -> None:
    """An API process that listed a million allocations did nothing else for 50 milliseconds at a time."""
    await write(store, **{f"n{n:03}": "x" for n in range(100)})
    cache, running, turns = Cache(store, NOTES.under()), 0, []
    inner = cache.take

    def take(path: str, kv: rpc.KeyValue, revision: int) -> None:
        turns.append(running)
        inner(path, kv, revision)

    cache.take = take  # type: ignore[method-assign]

    async def count() -> None:
        nonlocal running
        while True:
            running += 1
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(cache.run()), asyncio.create_task(count())]
    await asyncio.wait_for(cache.synced.wait(), 30)
    for task in tasks:
        task.cancel()
    assert max(Counter(turns).values()) <= scan.SLICE, turns


async def test_waiting_for_a_copy_has_an_end(store: Store) -> None:
    """With a watch that says nothing a request waited until its client gave up."""
    async with watching(store) as watched:
        began = asyncio.get_running_loop().time()
        with pytest.raises(StoreUnavailable, match=r"notes/.*is behind"):
            await watched.cache.wait_until(watched.cache.revision + 1_000_000, 0.2)
        assert asyncio.get_running_loop().time() - began < 5
        assert not watched.cache._waiting


async def test_a_pause_of_etcd_is_waited_out(fragile: Store, fragile_etcd: EtcdServer) -> None:
    await write(fragile, a="1")
    async with watching(fragile) as watched:
        fragile_etcd.pause()
        await asyncio.sleep(2)
        fragile_etcd.resume()
        revision = await when_it_answers(lambda: write(fragile, a="2"))
        assert await current(watched, revision) == {"a": "2"}


async def test_a_silent_stream_is_given_up(
    fragile: Store, fragile_etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches, "IDLE_SECONDS", 0.2)
    monkeypatch.setattr(watches, "PATIENCE_SECONDS", 2.0)
    async with watching(fragile) as watched:
        await asyncio.sleep(2.5)
        assert watched.cache.connected, "an idle stream that answers was given up"
        fragile_etcd.pause()
        await eventually(lambda: not watched.cache.connected)
        fragile_etcd.resume()
        revision = await when_it_answers(lambda: write(fragile, a="2"))
        assert await current(watched, revision) == {"a": "2"}


async def test_it_starts_before_etcd_does(fragile: Store, fragile_etcd: EtcdServer) -> None:
    fragile_etcd.kill()
    watched = Watched(fragile)
    watched.start()
    await asyncio.sleep(0.2)
    assert not watched.cache.synced.is_set()
    fragile_etcd.start()
    await eventually(watched.cache.synced.is_set)
    await watched.stop()


async def test_an_unreadable_record_harms_only_itself(store: Store) -> None:
    """One ended the watch of all its neighbours, and with it the process."""
    garbage = (store.prefix + NOTES("bad").path).encode()
    await write(store, good="1")
    await store.etcd.txn(rpc.TxnRequest(success=[_put(garbage, b"{")]), writes=True)
    async with watching(store) as watched:
        assert watched.texts == {"good": "1"}
        assert await current(watched, await write(store, bad="mended")) == {"good": "1", "bad": "mended"}
        await store.etcd.txn(rpc.TxnRequest(success=[_put(garbage, b"[]")]), writes=True)
        assert await current(watched, await write(store, good="2")) == {"good": "2"}


def _put(key: bytes, value: bytes) -> rpc.RequestOp:
    return rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=value))
