"""The contract of `kv.cache.Cache`: a copy of a span that misses nothing, whatever etcd goes through."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from aetcd import rpc
from attrs import define, field, frozen
from substrate import EtcdServer, eventually

from kv import follow as follow_module
from kv import watches
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
    monkeypatch.setattr(follow_module, "PAGE", 3)
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
        waiters = [asyncio.create_task(watched.cache.wait_until(revision + n)) for n in (1, 1, 1)]
        await eventually(lambda: not watched.cache.connected)
        waiters.append(asyncio.create_task(watched.cache.wait_until(revision + 1)))
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
