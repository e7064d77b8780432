"""A stream of guarded writes, a watched copy and a lease, while etcd is killed, paused and restarted under them: one
member alone, and three with TLS that lose their leader."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from attrs import define, evolve, field
from certificates import Authority
from etcd_cluster import EtcdCluster, running_cluster
from prometheus_client import REGISTRY
from substrate import EtcdServer, eventually

from kv.cache import Cache, Change
from kv.client import Etcd
from kv.keys import Family
from kv.leases import KeepAlive
from kv.store import Store
from kv.txn import Stored, Txn
from schemas.errors import CompareFailed, StoreUnavailable, UnknownOutcome
from schemas.settings import StoreSettings, TlsFiles

UNKNOWN = "kilonova_store_transactions_total"
COUNTERS = Family("counters/{name}", str)
ALIVE = Family("alive/{name}", str)
WRITERS = 8
LEASE_SECONDS = 10
PAUSE_SECONDS = 5.0
GAP_SECONDS = 20.0
"""far more than it takes: two time-outs and an election; a busy machine is slow"""


@define(eq=False)
class Load:
    """Each writer counts its own record up, one guarded write after the other."""

    store: Store
    acknowledged: dict[str, int] = field(factory=dict)
    """by record: its value as far as it was promised"""
    moments: list[float] = field(factory=list)
    """of the acknowledgements"""
    unknown: int = 0
    moves: float = 0
    """to another member"""
    told: dict[str, list[int]] = field(factory=dict)
    """by record: its values as the watch told them"""
    renewed: list[float] = field(factory=list)

    async def write(self, name: str) -> None:
        await self.store.commit(Txn("begin").create(COUNTERS(name), "0"))
        self.acknowledged[name] = 0
        stored = await self._read(name)
        while True:
            after = self.acknowledged[name] + 1
            try:
                revision = await self.store.commit(Txn("count").replace(stored, str(after)))
                stored = evolve(stored, value=str(after), mod_revision=revision)
            except UnknownOutcome:
                self.unknown += 1
                stored = await self._settled(name)
                assert int(stored.value) in (after - 1, after), "an acknowledged write is missing"
            self.acknowledged[name] = int(stored.value)
            self.moments.append(time.monotonic())

    async def _settled(self, name: str) -> Stored[str]:
        """The write may still apply. Rewriting what it compares makes that impossible; then reading tells."""
        while True:
            stored = await self._read(name)
            try:
                revision = await self.store.commit(Txn("settle").replace(stored, stored.value))
            except (CompareFailed, UnknownOutcome):
                continue
            return evolve(stored, mod_revision=revision)

    async def _read(self, name: str) -> Stored[str]:
        while True:
            try:
                stored = await self.store.get(COUNTERS(name))
            except StoreUnavailable:
                await asyncio.sleep(0.02)
                continue
            assert stored is not None
            return stored

    async def keep(self, keepalive: KeepAlive, lease: int) -> None:
        while True:
            try:
                assert await keepalive.renew(lease) > 0, "the lease ran out"
                self.renewed.append(time.monotonic())
            except StoreUnavailable:
                pass
            await asyncio.sleep(0.2)

    def changed(self, change: Change[str]) -> None:
        assert change.new is not None
        self.told.setdefault(change.key.path.rsplit("/", 1)[1], []).append(int(change.new.value))

    async def more(self, writes: int = 200) -> None:
        """Returns when so many more were acknowledged, to all writers."""
        goal, each = len(self.moments) + writes, {n: v + 3 for n, v in self.acknowledged.items()}
        await eventually(
            lambda: len(self.moments) >= goal and all(self.acknowledged[n] >= v for n, v in each.items()), 60
        )

    @property
    def gap(self) -> float:
        """The longest time in which nothing was acknowledged to anybody, in seconds."""
        return max(b - a for a, b in zip(self.moments, self.moments[1:], strict=False))


@asynccontextmanager
async def load_on(settings: StoreSettings, prefix: str) -> AsyncIterator[Load]:
    """Yields when all is under way; then checks that nothing was lost."""
    etcd = Etcd(settings)
    store = Store(etcd, f"{prefix}/")
    load = Load(store)
    cache = Cache(store, COUNTERS.under(), load.changed)
    keepalive, lease = KeepAlive(etcd), await etcd.grant(LEASE_SECONDS)
    await store.commit(Txn("live").put(ALIVE("us"), "", lease))
    names = [f"c{n}" for n in range(WRITERS)]
    following = asyncio.create_task(cache.run())
    await eventually(lambda: cache.connected, 30)
    work = [asyncio.create_task(load.write(name)) for name in names]
    work.append(asyncio.create_task(load.keep(keepalive, lease)))
    try:
        await eventually(lambda: len(load.acknowledged) == WRITERS, 30)
        await load.more()
        moved = sample("kilonova_store_moves_total")
        unknown, counted = load.unknown, sample(UNKNOWN, purpose="count", outcome="unknown")
        yield load
        load.moves = sample("kilonova_store_moves_total") - moved
        assert sample(UNKNOWN, purpose="count", outcome="unknown") - counted == load.unknown - unknown
        for task in work:
            if task.done():
                task.result()
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        assert not following.done(), following
        revision = await _patiently(store.revision)
        async with asyncio.timeout(30):
            await cache.wait_until(revision)
        for name in names:
            value = int((await load._read(name)).value)
            # What was cancelled in the middle may have been done.
            assert value - load.acknowledged[name] in (0, 1), (name, value, load.acknowledged[name])
            steps = load.told[name]
            assert set(steps) == set(range(value + 1)), "the watch left something out"
            assert steps == sorted(steps)
        assert await store.get(ALIVE("us")) is not None, "the lease ran out"
    finally:
        for task in (following, *work):
            task.cancel()
        await asyncio.gather(following, *work, return_exceptions=True)
        await keepalive.close()
        await etcd.close()


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def _patiently(call: Callable[[], Awaitable[int]]) -> int:
    async with asyncio.timeout(30):
        while True:
            try:
                return await call()
            except StoreUnavailable:
                await asyncio.sleep(0.05)


def report(what: str, load: Load) -> None:
    print(f"{what}: {len(load.moments)} writes, {load.unknown} of unknown outcome, longest gap {load.gap:.2f} s")
    assert load.gap < GAP_SECONDS


# One member


async def test_one_member_is_killed_and_restarted(fragile_etcd: EtcdServer) -> None:
    settings = StoreSettings((fragile_etcd.endpoint,), timeout=2.0)
    async with load_on(settings, "killed-in-a-stream") as load:
        for _ in range(2):
            fragile_etcd.kill()
            await asyncio.to_thread(fragile_etcd.start)
            await load.more()
    report("one member, killed twice", load)
    assert load.unknown > 0


async def test_one_member_stands_still(fragile_etcd: EtcdServer) -> None:
    settings = StoreSettings((fragile_etcd.endpoint,), timeout=1.0)
    async with load_on(settings, "paused-in-a-stream") as load:
        fragile_etcd.pause()
        await asyncio.sleep(PAUSE_SECONDS)
        fragile_etcd.resume()
        await load.more()
    report(f"one member, {PAUSE_SECONDS:g} s of SIGSTOP", load)
    assert load.unknown > 0


# Three members


@pytest.fixture(scope="module")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
async def cluster(_cluster: EtcdCluster) -> AsyncIterator[EtcdCluster]:
    """Whatever a test did to it: three members serve and have a leader."""
    yield _cluster
    _cluster.ensure()
    await eventually(lambda: all(m.serves() for m in _cluster.members.values()), 30)


async def by_way_of_the_leader(cluster: EtcdCluster) -> StoreSettings:
    """Who is connected to the member that fails has the worst of it."""
    first = (await cluster.leader()).endpoint
    others = (e for e in cluster.members if e != first)
    return evolve(cluster.settings(), endpoints=(first, *others))


async def test_the_leader_is_killed_and_comes_back(cluster: EtcdCluster) -> None:
    leader = await cluster.leader()
    async with load_on(await by_way_of_the_leader(cluster), "leader-killed") as load:
        leader.kill()
        await load.more()
        leader.launch()
        await eventually(leader.serves, 30)
        await load.more()
    report("three members, the leader killed", load)
    assert load.unknown > 0
    assert load.moves > 0


async def test_the_leader_stands_still(cluster: EtcdCluster) -> None:
    """It believes that it leads when it wakes; what it then says must not be believed."""
    leader = await cluster.leader()
    async with load_on(await by_way_of_the_leader(cluster), "leader-paused") as load:
        leader.pause()
        await asyncio.sleep(PAUSE_SECONDS)
        served = len(load.moments)
        leader.resume()
        await load.more()
        assert served > 200, "the others did not go on without it"
    report(f"three members, the leader {PAUSE_SECONDS:g} s in SIGSTOP", load)


async def test_a_follower_is_restarted_under_its_client(cluster: EtcdCluster) -> None:
    follower = (await cluster.followers())[0]
    others = (e for e in cluster.members if e != follower.endpoint)
    settings = evolve(cluster.settings(), endpoints=(follower.endpoint, *others))
    async with load_on(settings, "follower-restarted") as load:
        follower.stop()
        await load.more()
        follower.launch()
        await eventually(follower.serves, 30)
        await load.more()
    report("three members, the client's own restarted", load)


async def test_without_a_majority_nothing_is_promised_and_afterwards_all_goes_on(cluster: EtcdCluster) -> None:
    async with load_on(await by_way_of_the_leader(cluster), "no-majority") as load:
        first, second, _ = cluster.members.values()
        for member in (first, second):
            member.kill()
        served = len(load.moments)
        await asyncio.sleep(2)
        assert len(load.moments) <= served + WRITERS
        for member in (first, second):
            member.launch()
        await load.more()
    report("three members, two killed for 2 s", load)


# What TLS demands


@pytest.mark.parametrize("wrong", ["authority", "no certificate", "expired certificate", "no file"])
async def test_wrong_certificates_are_named(cluster: EtcdCluster, wrong: str, tmp_path: Path) -> None:
    files = {
        "authority": lambda: evolve(cluster.files, ca=str(Authority(tmp_path).ca)),
        "no certificate": lambda: TlsFiles(cluster.files.ca),
        "expired certificate": lambda: cluster.authority.issue("expired", timedelta(days=-1)),
        "no file": lambda: TlsFiles(str(tmp_path / "missing.crt")),
    }[wrong]()

    async def ask() -> None:
        etcd = Etcd(evolve(cluster.settings(), tls=files))
        try:
            await Store(etcd, "tls/").get(COUNTERS("a"))
        finally:
            await etcd.close()

    with pytest.raises(StoreUnavailable) as caught:
        await ask()
    said = {"authority": "CERTIFICATE_VERIFY_FAILED", "no file": "missing.crt cannot be read"}
    assert said.get(wrong, "see ca, cert and key") in caught.value.message
