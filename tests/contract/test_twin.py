"""What only the twin in memory has: virtual time, faults on request, several processes at one cluster."""

import asyncio
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import grpc
import pytest
from aetcd import rpc
from attrs import define
from etcd_labs import put

from kv.cache import Cache
from kv.keys import Family
from kv.leases import KeepAlive
from kv.store import Store
from kv.twin.client import Twin
from kv.twin.cluster import Cluster
from kv.twin.faults import Faults, Late, Lost, Odds, RandomFaults
from kv.txn import Txn
from schemas.errors import StoreFull, StoreUnavailable, UnknownOutcome
from tests.sim.loop import VirtualLoop

NOTES = Family("notes/{name}", str)


@define
class Once(Faults):
    """One fault, at the next call of that name; later ones go well."""

    call: str
    before_it: Exception | float | None = None
    after_it: Exception | float | None = None

    async def before(self, call: str, request: Any) -> None:
        if call == self.call:
            fault, self.before_it = self.before_it, None
            await happen(fault)

    async def after(self, call: str, answer: Any) -> None:
        if call == self.call:
            fault, self.after_it = self.after_it, None
            await happen(fault)


async def happen(fault: Exception | float | None) -> None:
    if isinstance(fault, Exception):
        raise fault
    if fault is not None:
        await asyncio.sleep(fault)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
async def other(cluster: Cluster) -> AsyncIterator[Store]:
    """Another process, with which all is well."""
    twin = Twin(cluster)
    yield Store(twin, "test/")
    await twin.close()


def faulty(cluster: Cluster, faults: Faults, timeout: float = 5.0) -> Store:
    return Store(Twin(cluster, faults, timeout=timeout), "test/")


# Calls


@pytest.mark.parametrize(
    ("faults", "applied"),
    [
        (Once("txn", before_it=Lost()), False),
        (Once("txn", after_it=Lost()), True),
        (Once("txn", before_it=0.1), False),
        (Once("txn", after_it=0.1), True),
    ],
    ids=["lost before", "lost after", "slow before", "slow after"],
)
async def test_a_write_without_an_answer_is_of_unknown_outcome(
    cluster: Cluster, other: Store, faults: Once, applied: bool
) -> None:
    store = faulty(cluster, faults, timeout=0.05)
    with pytest.raises(UnknownOutcome):
        await store.commit(Txn("write").put(NOTES("a"), "1"))
    assert (await other.get(NOTES("a")) is not None) is applied
    await store.commit(Txn("write").put(NOTES("a"), "2"))


async def test_a_late_write_is_applied_after_its_caller_gave_up(cluster: Cluster, other: Store) -> None:
    store = faulty(cluster, Once("txn", before_it=Late(0.1)), timeout=0.02)
    with pytest.raises(UnknownOutcome):
        await store.commit(Txn("write").put(NOTES("a"), "1"))
    assert await other.get(NOTES("a")) is None
    await asyncio.sleep(0.15)
    assert await other.get(NOTES("a")) is not None


async def test_a_late_write_still_loses_by_its_compares(cluster: Cluster, other: Store) -> None:
    store = faulty(cluster, Once("txn", before_it=Late(0.05)), timeout=0.02)
    with pytest.raises(UnknownOutcome):
        await store.commit(Txn("write").create(NOTES("a"), "late"))
    await other.commit(Txn("write").create(NOTES("a"), "other"))
    await asyncio.sleep(0.1)
    stored = await other.get(NOTES("a"))
    assert stored
    assert stored.value == "other"


@pytest.mark.parametrize("call", ["range", "read", "grant", "revoke"])
async def test_what_is_no_guarded_write_is_unavailable(cluster: Cluster, call: str) -> None:
    store = faulty(cluster, Once(call, before_it=Lost()))
    calls = {
        "range": lambda: store.get(NOTES("a")),
        "read": lambda: store.read(NOTES("a"), NOTES("b")),
        "grant": lambda: store.etcd.grant(5),
        "revoke": lambda: store.etcd.revoke(5),
    }
    with pytest.raises(StoreUnavailable) as caught:
        await calls[call]()
    assert not isinstance(caught.value, UnknownOutcome)


async def test_an_error_of_ours_reaches_the_caller(cluster: Cluster, other: Store) -> None:
    store = faulty(cluster, Once("txn", before_it=StoreFull("etcd is full")))
    with pytest.raises(StoreFull):
        await store.commit(Txn("write").put(NOTES("a"), "1"))
    assert await other.get(NOTES("a")) is None


async def test_other_tasks_run_before_and_after_each_call(cluster: Cluster) -> None:
    twin = Twin(cluster)
    seen: list[int] = []
    write = asyncio.create_task(twin.txn(rpc.TxnRequest(success=[put(b"a")]), writes=True))
    while not write.done():
        seen.append(cluster.revision)
        await asyncio.sleep(0)
    assert {1, 2} <= set(seen)


def test_the_same_seed_gives_the_same_faults() -> None:
    """On virtual time: how fast this machine is must not matter."""

    async def outcomes(seed: int) -> list[str]:
        odds = Odds(lost_before=0.2, lost_after=0.2, late=0.2, usual_delay=0.0001, late_delay=0.01)
        store = faulty(Cluster(), RandomFaults(Random(seed), odds), timeout=0.01)
        found = []
        for n in range(30):
            try:
                found.append(str(await store.commit(Txn("write").put(NOTES(n), ""))))
            except UnknownOutcome as error:
                found.append(error.message)
        return found

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        first = runner.run(outcomes(7))
        assert first == runner.run(outcomes(7))
        assert first != runner.run(outcomes(8))


async def test_closed_it_takes_no_calls(cluster: Cluster) -> None:
    twin = Twin(cluster)
    stream = await twin.watch_stream()
    await twin.close()
    for call in (twin.range(rpc.RangeRequest(key=b"a")), twin.watch_stream()):
        with pytest.raises(grpc.aio.UsageError):
            await call
    with pytest.raises(asyncio.InvalidStateError):
        await stream.write(rpc.WatchRequest())


# Streams


@pytest.mark.parametrize(
    "faults", [Once("watch", before_it=Lost()), Once("watch", after_it=Lost())], ids=["asking", "hearing"]
)
async def test_a_cache_gets_over_a_lost_stream(cluster: Cluster, other: Store, faults: Once) -> None:
    cache = Cache(faulty(cluster, faults), NOTES.under())
    running = asyncio.create_task(cache.run())
    revision = await other.commit(Txn("write").put(NOTES("a"), "1"))
    async with asyncio.timeout(30):
        await cache.synced.wait()
        await cache.wait_until(revision)
    assert cache.get(NOTES("a")) == "1"
    running.cancel()
    await asyncio.wait([running])


async def test_a_lost_connection_breaks_this_process_streams_only(cluster: Cluster) -> None:
    mine, yours = Twin(cluster), Twin(cluster)
    streams = [await twin.watch_stream() for twin in (mine, yours)]
    for stream in streams:
        await stream.write(rpc.WatchRequest(create_request=rpc.WatchCreateRequest(key=b"a")))
    mine.disconnect()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await streams[0].read()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert (await streams[1].read()).created
    assert await mine.watch_stream()


async def test_a_restart_breaks_all_streams_and_gives_leases_their_time_again() -> None:
    now = 0.0
    cluster = Cluster(lambda: now)
    twin = Twin(cluster)
    lease = await twin.grant(10)
    stream = await twin.watch_stream()
    now = 9.0
    cluster.restart()
    with pytest.raises(grpc.aio.AioRpcError):
        await stream.read()
    now = 18.0
    assert await KeepAlive(twin).renew(lease) == 10


# Leases on a clock of their own


async def test_leases_end_by_the_given_clock_each_in_a_revision() -> None:
    now = 100.0
    cluster = Cluster(lambda: now)
    twin = Twin(cluster)
    keepalive = KeepAlive(twin)
    store = Store(twin, "test/")
    first, second = await twin.grant(10), await twin.grant(10)
    for lease in (first, second):
        for name in "ab":
            await store.commit(Txn("write").put(NOTES(f"{lease}{name}"), "", lease))
    now = 109.0
    assert await keepalive.renew(second) == 10
    now = 110.0
    before = cluster.revision
    cluster.expire()
    assert cluster.revision == before + 1
    assert await store.paths(NOTES.under()) == [f"notes/{second}a", f"notes/{second}b"]
    now = 119.0
    assert await store.paths(NOTES.under()) == [], "each call looks at the clock first"
    assert await keepalive.renew(second) == 0
    await keepalive.close()
