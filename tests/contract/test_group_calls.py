"""Calls that go to etcd together: each ends within its own time, none harms another, and no guard holds by luck."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import grpc
import pytest
from aetcd import rpc
from etcd_labs import put
from substrate import EtcdServer, running

from kv import company
from kv.backend import explain, was_refused
from kv.client import Etcd
from kv.groups import _Commit, _Group
from kv.keys import Family
from kv.store import Store
from kv.twin.client import Twin
from kv.twin.cluster import Cluster
from kv.twin.faults import Faults, Late
from kv.twin.refusals import refused
from kv.txn import MAX_OPERATIONS, Txn
from schemas.errors import CompareFailed, StoreFull, StoreOverloaded, StoreUnavailable, TooLarge, UnknownOutcome
from schemas.settings import StoreSettings
from tests.sim.loop import VirtualLoop

NOTES = Family("notes/{name}", str)
TIMEOUT = 5.0


class Hanging(Faults):
    """Nothing arrives, as at an etcd that was stopped."""

    async def before(self, call: str, request: Any) -> None:
        await asyncio.sleep(10**9)


def hanging() -> Store:
    return Store(Twin(Cluster(), Hanging(), timeout=TIMEOUT), "test/")


async def ends(calls: list[Awaitable[Any]]) -> list[tuple[float, type[BaseException]]]:
    """When each call failed, and how."""
    loop = asyncio.get_running_loop()
    began, found = loop.time(), []

    async def one(call: Awaitable[Any]) -> None:
        try:
            await call
        except StoreUnavailable as error:
            found.append((loop.time() - began, type(error)))

    await asyncio.gather(*map(one, calls))
    return found


def in_virtual_time(main: Awaitable[Any]) -> Any:
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()


# Deadlines


def test_a_call_that_waits_behind_others_ends_within_its_own_time() -> None:
    """The time of a call began when its group was sent, two groups at a time: with an etcd that hangs the last of 3000
    reads failed after 180 s, and the last of 30 commits that share a key after 150 s."""

    async def main() -> None:
        store = hanging()
        reads = [store.read(NOTES(f"{n}a"), NOTES(f"{n}b"), NOTES(f"{n}c")) for n in range(3000)]
        failed = await ends(list(reads))
        assert len(failed) == 3000
        assert {round(seconds, 3) for seconds, _ in failed} == {TIMEOUT}
        assert {kind for _, kind in failed} == {StoreUnavailable}

        store = hanging()
        commits = [store.commit(Txn("x").put(NOTES("same"), "").put(NOTES(f"{n}"), "")) for n in range(30)]
        failed = await ends(list(commits))
        assert {round(seconds, 3) for seconds, _ in failed} == {TIMEOUT}
        kinds = [kind for _, kind in failed]
        assert kinds.count(UnknownOutcome) == 1, "only the first was sent"
        assert kinds.count(StoreUnavailable) == 29, "what was not sent is not unknown"

    in_virtual_time(main())


def test_what_joins_late_fails_late_and_nothing_is_left() -> None:
    async def main() -> None:
        store = hanging()

        async def later(seconds: float) -> None:
            await asyncio.sleep(seconds)
            await store.commit(Txn("x").put(NOTES("same"), ""))

        failed = await ends([later(n) for n in (0, 1, 2, 3, 4.5)])
        assert [round(seconds, 3) for seconds, _ in failed] == [TIMEOUT + n for n in (0, 1, 2, 3, 4.5)]
        await asyncio.sleep(2 * TIMEOUT)
        commits = store._commits
        assert (commits._waiting, commits._bytes, commits._under_way, commits._expiry) == ([], 0, {}, None)

    in_virtual_time(main())


def test_a_write_that_was_not_sent_in_time_is_not_applied_later() -> None:
    class FirstIsLate(Faults):
        calls = 0

        async def before(self, call: str, request: Any) -> None:
            self.calls += call == "txn"
            if self.calls == 1:
                raise Late(30)

    async def main() -> None:
        cluster = Cluster()
        store, outside = Store(Twin(cluster, FirstIsLate(), timeout=TIMEOUT), "test/"), Store(Twin(cluster), "test/")
        commits = [store.commit(Txn("x").put(NOTES("same"), text)) for text in ("first", "second")]
        assert {kind for _, kind in await ends(list(commits))} == {UnknownOutcome, StoreUnavailable}
        assert await outside.get(NOTES("same")) is None
        await asyncio.sleep(60)
        seen = await outside.get(NOTES("same"))
        assert seen
        assert seen.value == "first", "what is unknown may still apply, what was not sent may not"

    in_virtual_time(main())


@pytest.mark.parametrize("bound", ["calls", "bytes"])
def test_too_many_calls_are_refused_at_once(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All requests of an API process waited in its memory, without bound."""
    monkeypatch.setattr(company, "MAX_WAITING", 20 if bound == "calls" else 10**6)
    monkeypatch.setattr(company, "MAX_WAITING_BYTES", 4000 if bound == "bytes" else 10**9)

    async def main() -> None:
        store = hanging()
        commits = [store.commit(Txn("x").put(NOTES(f"{n}"), "x" * 150)) for n in range(100)]
        failed = await ends(list(commits))
        refusals = [seconds for seconds, kind in failed if kind is StoreOverloaded]
        assert len(refusals) in range(70, 90)
        assert set(refusals) == {0.0}
        assert {round(seconds, 3) for seconds, kind in failed if kind is not StoreOverloaded} == {TIMEOUT}
        assert issubclass(StoreOverloaded, StoreUnavailable)
        assert StoreOverloaded.code == 503

    in_virtual_time(main())


# Refusals


async def test_in_a_full_etcd_deletes_that_travel_with_writes_are_applied(tmp_path: Path) -> None:
    """A delete, which makes room, failed with the writes that were sent along with it."""
    server = EtcdServer(tmp_path / "small", "--quota-backend-bytes", str(1 << 20))
    with running(server):
        etcd = Etcd(StoreSettings(endpoints=(server.endpoint,)))
        store = Store(etcd, "full/")
        await store.commit(Txn("fill").put(NOTES("old"), "x"))

        async def fill() -> None:
            while True:
                await store.commit(Txn("fill").put(NOTES("a"), "x" * 200_000))

        with pytest.raises(StoreFull):
            await fill()
        txns = [Txn("put").put(NOTES(f"{n}"), "x") for n in range(10)]
        txns.insert(5, Txn("delete").delete(NOTES("old")))
        results = await asyncio.gather(*(store.commit(txn) for txn in txns), return_exceptions=True)
        assert isinstance(results.pop(5), int)
        assert {type(r) for r in results} == {StoreFull}
        assert await store.get(NOTES("old")) is None
        await etcd.close()


async def test_a_group_of_writes_does_not_go_beyond_the_quota(tmp_path: Path) -> None:
    """etcd looks for space by the puts of a transaction's outer level. A group has none there: under load a store with
    NOSPACE went on growing, to the limits of its disk."""
    server = EtcdServer(tmp_path / "small", "--quota-backend-bytes", str(1 << 20))
    with running(server):
        etcd = Etcd(StoreSettings(endpoints=(server.endpoint,)))
        store = Store(etcd, "full/")

        async def fill() -> None:
            for n in range(40):
                await asyncio.gather(
                    *(store.commit(Txn("fill").put(NOTES(f"{n}-{m}"), "x" * 30_000)) for m in range(8))
                )

        with pytest.raises(StoreFull):
            await fill()
        assert await store.count(NOTES.under()) < 100
        await etcd.close()


@pytest.mark.parametrize(
    ("status", "text", "refusal"),
    [
        ("INVALID_ARGUMENT", "etcdserver: duplicate key given in txn request", True),
        ("NOT_FOUND", "etcdserver: requested lease not found", True),
        ("PERMISSION_DENIED", "etcdserver: permission denied", True),
        ("FAILED_PRECONDITION", "etcdserver: user name is empty", True),
        ("RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded", True),
        ("RESOURCE_EXHAUSTED", "etcdserver: too many requests", True),
        ("RESOURCE_EXHAUSTED", "grpc: received message larger than max (3 vs. 2)", True),
        ("RESOURCE_EXHAUSTED", "CLIENT: Received message larger than max (3 vs. 2)", False),
        ("INTERNAL", "Received RST_STREAM with error code 2", False),
        ("UNKNOWN", "Stream removed", False),
        ("ABORTED", "", False),
        ("DATA_LOSS", "", False),
        ("UNAVAILABLE", "etcdserver: leader changed", False),
        ("UNAVAILABLE", "etcdserver: request timed out", False),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", False),
        ("CANCELLED", "", False),
    ],
)
def test_only_known_refusals_of_a_write_are_final(status: str, text: str, refusal: bool) -> None:
    """A write that ended with INTERNAL or UNKNOWN counted as refused, and its owner repeated it without fencing."""
    cause = refused((grpc.StatusCode[status], text))
    error = explain("etcd", cause, writes=True)
    error.__cause__ = cause
    assert isinstance(error, UnknownOutcome) is not refusal
    assert was_refused(error) is refusal
    assert not isinstance(explain("etcd", cause, writes=False), UnknownOutcome)
    assert isinstance(error, StoreUnavailable | StoreFull | TooLarge)


# Conflicts


def commit_of(writes: str = "", compares: str = "") -> _Commit:
    def keys(names: str) -> set[bytes]:
        return {name.encode() for name in names.split()}

    return _Commit(rpc.TxnRequest(), keys(writes), keys(compares), 1)


@pytest.mark.parametrize(
    ("first", "second", "conflict"),
    [
        (("a", ""), ("b", ""), False),
        (("", "a"), ("", "a"), False),
        (("a", ""), ("a", ""), True),
        (("a", ""), ("b", "a"), True),
        (("a", "b"), ("b", ""), True),
    ],
    ids=["apart", "read by both", "written by both", "compares what is written", "writes what is compared"],
)
async def test_what_may_not_go_together(first: tuple[str, str], second: tuple[str, str], conflict: bool) -> None:
    """Each is what is written and what is compared."""
    group = _Group()
    group.add(commit_of(*first))
    assert group.conflicts(commit_of(*second)) is conflict


async def test_of_two_that_compare_what_the_other_writes_one_loses(store: Store) -> None:
    """etcd judges all compares of a group on the state before it: sent together, both would win though neither could
    after the other, as two last claims of one host by different keys."""
    for n in range(20):
        await store.commit(Txn("make").put(NOTES(f"{n}a"), "").put(NOTES(f"{n}b"), ""))
        a, b = await store.read(NOTES(f"{n}a"), NOTES(f"{n}b"))
        assert a
        assert b
        skew = Txn("skew").unchanged(a).put(b.key, "x"), Txn("skew").unchanged(b).put(a.key, "x")
        results = await asyncio.gather(*map(store.commit, skew), return_exceptions=True)
        assert sorted(type(r) for r in results if not isinstance(r, int)) == [CompareFailed], results


async def test_no_ring_of_compares_goes_through_together(store: Store) -> None:
    for size in (3, 5):
        names = [f"{size}{n}" for n in range(size)]
        await asyncio.gather(*(store.commit(Txn("make").put(NOTES(name), "")) for name in names))
        records = await store.read_all([NOTES(name) for name in names])
        ring = [
            Txn("ring").unchanged(record).put(NOTES(names[n - 1]), "x") for n, record in enumerate(records) if record
        ]
        results = await asyncio.gather(*map(store.commit, ring), return_exceptions=True)
        assert any(isinstance(r, CompareFailed) for r in results), results


async def test_a_full_group_leaves_the_rest_in_order() -> None:
    store = Store(Twin(Cluster()), "test/")
    commits = store._commits
    commits._waiting = [commit_of(writes=str(n)) for n in range(500)]
    group = commits._next_group()
    assert group
    assert len(group.members) == MAX_OPERATIONS - 1
    assert [next(iter(m.writes)) for m in commits._waiting] == [b"%d" % n for n in range(127, 500)]


async def test_the_put_that_stands_for_a_group_is_never_applied(store: Store) -> None:
    group = _Group()
    key = (store.prefix + "notes/a").encode()
    for n in range(2):
        request = rpc.TxnRequest(success=[put(key + b"%d" % n, b'"x"')])
        group.add(_Commit(request, {key}, set(), 1))
    assert group.request().failure[0].request_put.key == key + b"0"
    await store.etcd.txn(group.request(), writes=True)
    assert [s.value for s in await store.range(NOTES.under())] == ["x", "x"]


async def test_two_that_each_compare_what_the_other_writes_are_never_one_call() -> None:
    """etcd evaluates the compares of all members on the state before the call: both would be applied, each decided on
    what the other one had changed by then."""
    store = Store(Twin(Cluster()), "c/")
    await store.commit(Txn("given").put(NOTES("a"), "free").put(NOTES("b"), "free"))
    a, b = await store.read(NOTES("a"), NOTES("b"))
    assert a is not None
    assert b is not None
    done = await asyncio.gather(
        store.commit(Txn("first").put(NOTES("c"), "under way while the others wait")),
        store.commit(Txn("take a").put(NOTES("a"), "taken since b is free").unchanged(b)),
        store.commit(Txn("take b").put(NOTES("b"), "taken since a is free").unchanged(a)),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in done) == ["CompareFailed", "int", "int"]
