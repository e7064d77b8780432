"""The contract of `kv.shards.Shards`: each shard has one owner, and a former one can write nothing."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
from attrs import define, field
from substrate import EtcdServer, eventually

from kv import shards as shards_module
from kv.backend import Backend
from kv.client import Etcd
from kv.keys import Cell, Family
from kv.shards import Shards, owner_of
from kv.store import Store
from kv.twin.client import Twin
from kv.twin.cluster import Cluster
from kv.twin.faults import Faults, Late, Lost
from kv.txn import Txn
from schemas.errors import CompareFailed, StoreUnavailable, UnknownOutcome
from schemas.settings import StoreSettings
from schemas.shards import SHARDS
from tests.sim.loop import VirtualLoop

WORK = Family("work/{shard}", str)
TTL = 2
"""seconds; etcd grants none shorter than its election time-out allows"""

ALL = set(range(SHARDS))


@define(eq=False)
class Member:
    """A process's hold on shards, with what it was told."""

    pod: str
    store: Store
    told: list[tuple[str, int]] = field(factory=list)
    ttl: int = TTL
    slow: float = 0.0
    """seconds that each gain takes"""
    shards: Shards = field(init=False)
    task: asyncio.Task[None] | None = None

    def __attrs_post_init__(self) -> None:
        self.shards = Shards(self.store, self.pod, self.ttl, self._tell("gained"), self._tell("lost"), Cell)

    def _tell(self, what: str) -> Callable[[int], Awaitable[None]]:
        async def told(shard: int) -> None:
            await asyncio.sleep(self.slow)
            self.told.append((what, shard))

        return told

    @property
    def owned(self) -> set[int]:
        return set(self.shards.fences)

    def start(self) -> "Member":
        self.task = asyncio.create_task(self.shards.run(), name=self.pod)
        return self

    async def leave(self) -> None:
        """A clean end: everything is handed over."""
        assert self.task
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task

    async def write(self, shard: int) -> int:
        txn = Txn("work").put(WORK(shard), self.pod)
        return await self.store.commit(self.shards.guard(txn, shard))


@define(eq=False)
class Crowd:
    connect: Callable[[], Backend]
    prefix: str
    members: dict[str, Member] = field(factory=dict)
    etcds: dict[str, Backend] = field(factory=dict)
    ttl: int = TTL

    def join(self, *pods: str) -> None:
        """Each with a connection of its own."""
        for pod in pods:
            etcd = self.etcds[pod] = self.connect()
            self.members[pod] = Member(pod, Store(etcd, self.prefix), ttl=self.ttl).start()

    async def freeze(self, pod: str) -> Member:
        """As a SIGSTOP: it keeps its beliefs, and nothing that it should do is done."""
        member = self.members.pop(pod)
        beliefs = dict(member.shards.fences)
        assert member.task
        with suppress(asyncio.CancelledError):
            member.shards._abdicate = _nothing  # type: ignore[method-assign,assignment]
            member.task.cancel()
            await member.task
        await member.shards._keepalive.close()
        member.shards.fences = beliefs
        return member

    def shared_out(self) -> bool:
        """Every shard has exactly one owner, the one that all agree on."""
        owners = Counter(shard for m in self.members.values() for shard in m.owned)
        members = frozenset(self.members)
        return set(owners) == ALL and all(
            m.owned == {s for s in ALL if owner_of(s, members) == pod} for pod, m in self.members.items()
        )

    async def disperse(self) -> None:
        await asyncio.gather(*(m.leave() for m in self.members.values()))
        for etcd in self.etcds.values():
            await etcd.close()


def impatient(server: EtcdServer) -> Etcd:
    return Etcd(StoreSettings(endpoints=(server.endpoint,), timeout=1.0))


async def _nothing(_: int) -> None:
    return


@pytest.fixture
async def crowd(connect: Callable[[], Backend]) -> AsyncIterator[Crowd]:
    made = Crowd(connect, f"test-{uuid4().hex}/")
    yield made
    await made.disperse()


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_every_member_names_the_same_owner_and_all_have_a_share(count: int) -> None:
    members = [f"pod-{n}" for n in range(count)]
    owners = Counter(owner_of(s, frozenset(members)) for s in range(SHARDS))
    assert set(owners) == set(members)
    for leaver in members:
        for shard in range(SHARDS):
            before = owner_of(shard, frozenset(members))
            after = owner_of(shard, frozenset(members) - {leaver})
            assert after == before or before == leaver, "only the leaver's shards move"
    assert owner_of(1, frozenset()) is None


async def test_one_member_owns_all(crowd: Crowd) -> None:
    crowd.join("a")
    await eventually(crowd.shared_out)
    member = crowd.members["a"]
    assert member.shards.settled
    assert sorted(member.told) == [("gained", shard) for shard in range(SHARDS)]
    for shard in (0, 63):
        await member.write(shard)


async def test_a_member_that_takes_its_shards_slowly_keeps_them(crowd: Crowd) -> None:
    """On a busy machine that took longer than the lease, which nobody renewed meanwhile: all were lost, and taken again
    as slowly, for ever."""
    crowd.join("a")
    crowd.members["a"].slow = 1.5 * TTL / SHARDS
    await eventually(crowd.shared_out, 10 * TTL)
    assert {what for what, _ in crowd.members["a"].told} == {"gained"}


async def test_members_join_and_leave_and_every_shard_has_one_owner(crowd: Crowd) -> None:
    crowd.ttl = 20
    crowd.join("a")
    await eventually(crowd.shared_out)
    crowd.join("b", "c")
    await eventually(crowd.shared_out)
    assert all(m.owned for m in crowd.members.values())

    leaver = crowd.members.pop("b")
    began = asyncio.get_running_loop().time()
    await leaver.leave()
    assert leaver.owned == set()
    await eventually(crowd.shared_out)
    assert asyncio.get_running_loop().time() - began < crowd.ttl / 2, "a clean end does not wait for the lease"
    gains = Counter(shard for what, shard in leaver.told if what == "gained")
    assert gains == Counter(shard for what, shard in leaver.told if what == "lost")


async def test_a_dead_member_is_inherited_when_its_lease_ends(crowd: Crowd) -> None:
    crowd.join("a", "b")
    await eventually(crowd.shared_out)
    await crowd.freeze("a")
    await eventually(crowd.shared_out, TTL * 4)
    assert crowd.members["b"].owned == ALL


async def test_a_paused_owner_writes_nothing_after_it_wakes(crowd: Crowd) -> None:
    crowd.join("a", "b")
    await eventually(crowd.shared_out)
    paused = await crowd.freeze("a")
    shard = min(paused.owned)
    revision = await paused.write(shard)  # its lease still runs
    heir = crowd.members["b"]
    await eventually(lambda: heir.owned == ALL, TTL * 4)

    for mine in sorted(paused.owned):
        with pytest.raises(CompareFailed):
            await paused.write(mine)
    stored = await heir.store.get(WORK(shard))
    assert stored
    assert stored.mod_revision == revision
    await heir.write(shard)
    with pytest.raises(CompareFailed, match="taken over"):
        await paused.shards.refence(shard)
    assert shard not in paused.owned
    with pytest.raises(CompareFailed, match="not ours"):
        await paused.write(shard)


async def test_fencing_anew_makes_an_earlier_write_impossible(crowd: Crowd) -> None:
    crowd.join("a")
    await eventually(crowd.shared_out)
    member = crowd.members["a"]
    late = member.shards.guard(Txn("late").put(WORK(7), "late"), 7)
    await member.shards.refence(7)
    with pytest.raises(CompareFailed):
        await member.store.commit(late)
    await member.write(7)
    assert member.owned == ALL
    assert member.told.count(("gained", 7)) == 1


async def test_a_shard_whose_return_failed_does_not_stay_with_nobody(crowd: Crowd) -> None:
    """The owner forgot the shard when its giving back lost a race with its own fencing; the key stayed as long as its
    lease, for ever, and the wanted owner could not take it."""
    crowd.join("a")
    await eventually(crowd.shared_out)
    a = crowd.members["a"]
    goes_to_b = {s for s in ALL if owner_of(s, frozenset({"a", "b"})) == "b"}
    for shard in goes_to_b:  # each fence is behind etcd's, so giving back fails
        stored = await a.store.get(Cell.LEASES(shard))
        assert stored
        await a.store.commit(Txn("touch").put(stored.key, "a", stored.lease))
    crowd.join("b")
    await eventually(crowd.shared_out)


async def test_an_owner_never_removes_the_key_of_a_shard_that_it_owns() -> None:
    """A shard was given back, the answer was lost, and it was ours again while the watch of the keys lagged: the owner
    removed its own new key, and served a shard for which nothing could be committed, for ever."""

    class LostAnswer(Faults):
        """Of the first give-back; the watch catches up during the second."""

        def __init__(self) -> None:
            self.deletes: list[bytes] = []
            self.catch_up: Callable[[], None] | None = None
            self.lost = False

        async def before(self, call: str, request: Any) -> None:
            deleted = [op.request_delete_range.key for op in getattr(request, "success", ())]
            if call == "txn" and len(deleted) == 1 and deleted[0]:
                self.deletes.append(deleted[0])
                if self.deletes.count(self.deletes[0]) >= 2 and self.catch_up:
                    self.catch_up()

        async def after(self, call: str, answer: Any) -> None:
            if call == "txn" and self.deletes and not self.lost:
                self.lost = True
                raise Lost

    cluster, faults = Cluster(), LostAnswer()
    a, b = Member("a", Store(Twin(cluster, faults), "c/"), ttl=3).start(), Store(Twin(cluster), "c/")
    await eventually(lambda: a.owned == ALL)
    cache, behind = a.shards._lease_cache, list[Callable[[], None]]()
    take, advance = cache.take, cache.advance
    cache.take = lambda *told: behind.append(lambda: take(*told))  # type: ignore[method-assign]
    cache.advance = lambda revision: behind.append(lambda: advance(revision))  # type: ignore[method-assign]

    def catch_up() -> None:
        cache.take, cache.advance = take, advance  # type: ignore[method-assign]
        while behind:
            behind.pop(0)()
        a.shards._dirty.set()

    faults.catch_up = catch_up
    lease = await b.etcd.grant(60)
    await b.commit(Txn("join").put(Cell.MEMBERS("b"), "b", lease))
    await eventually(lambda: faults.lost)
    await b.etcd.revoke(lease)
    await asyncio.sleep(0.5)
    catch_up()
    await eventually(lambda: a.owned == ALL)

    async def all_writable() -> bool:
        try:
            for shard in ALL:
                await a.write(shard)
        except CompareFailed:
            return False
        return True

    await eventually(all_writable)
    await asyncio.sleep(1.5)
    assert await all_writable()
    await a.leave()


async def test_a_shard_whose_key_is_gone_is_lost_and_taken_again(crowd: Crowd) -> None:
    """Nobody else would take it: rendezvous names us, and we believed to own it."""
    crowd.ttl = 60
    crowd.join("a")
    await eventually(crowd.shared_out)
    a = crowd.members["a"]
    await a.store.commit(Txn("by hand").delete(Cell.LEASES(7)))
    await eventually(lambda: ("lost", 7) in a.told)
    await eventually(crowd.shared_out)
    await a.write(7)
    assert [told for told in a.told if told[0] == "lost"] == [("lost", 7)]


async def test_a_member_whose_key_is_gone_joins_again(crowd: Crowd) -> None:
    crowd.ttl = 60
    crowd.join("a")
    await eventually(crowd.shared_out)
    a = crowd.members["a"]
    await a.store.commit(Txn("by hand").delete(Cell.MEMBERS("a")))

    async def there() -> bool:
        return await a.store.get(Cell.MEMBERS("a")) is not None

    await eventually(there)
    assert {what for what, _ in a.told} == {"gained"}


async def test_a_shard_that_cannot_be_started_costs_no_other(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    """One unreadable operation, or one moment without an answer while a shard was taken over, took all shards from
    their owner, which waited for its own lease to run out and met it again."""
    monkeypatch.setattr(shards_module, "SHORTEST_PAUSE", 0.05)
    crowd.ttl = 60
    failing, tries = {7, 9}, Counter[int]()
    etcd = crowd.etcds["a"] = crowd.connect()
    member = crowd.members["a"] = Member("a", Store(etcd, crowd.prefix), ttl=60)
    gained = member.shards._on_gain

    async def gain(shard: int) -> None:
        tries[shard] += 1
        if shard in failing:
            raise ValueError("it cannot be read") if shard == 7 else StoreUnavailable("not now")
        await gained(shard)

    member.shards._on_gain = gain
    member.start()
    await eventually(lambda: member.owned >= ALL - failing)
    await eventually(lambda: tries[7] > 2)
    assert max(tries[shard] for shard in ALL - failing) == 1, "the others were not touched"
    await member.write(0)
    failing.clear()
    member.shards._dirty.set()
    await eventually(crowd.shared_out, 30)
    assert {shard for what, shard in member.told if what == "lost"} == {7, 9}


async def test_an_earlier_lease_is_revoked_before_the_next(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed for another reason than its lease waited until that ran out: the keys under it were in the way."""
    crowd.ttl = 40
    crowd.join("a")
    await eventually(crowd.shared_out)
    a = crowd.members["a"]

    async def broken(_: int, __: float) -> int:
        a.shards._expires = 0.0
        raise StoreUnavailable("no renewal succeeds")

    before, began = await a.store.get(Cell.MEMBERS("a")), asyncio.get_running_loop().time()
    assert before
    with monkeypatch.context() as patch:
        patch.setattr(a.shards._keepalive, "renew", broken)
        await eventually(lambda: not a.owned, 30)
    await eventually(crowd.shared_out, 30)
    assert asyncio.get_running_loop().time() - began < 30
    after = await a.store.get(Cell.MEMBERS("a"))
    assert after
    assert after.lease != before.lease


def test_three_renewals_fit_into_a_lease() -> None:
    """A renewal could take as long as the lease: one at a paused member lost all shards though two others were well."""

    class Silent(Faults):
        """No renewal is answered as long as it is."""

        silent = False

        async def after(self, call: str, answer: Any) -> None:
            if call == "keepalive" and self.silent:
                await asyncio.sleep(10**9)

    async def main() -> None:
        faults = Silent()
        etcd = Twin(Cluster(), faults, timeout=5.0)
        member = Member("a", Store(etcd, "c/"), ttl=6).start()
        for pause in (10, 10.4, 11, 11.3):
            await asyncio.sleep(pause)
            assert member.owned == ALL
            faults.silent = True
            await asyncio.sleep(3)
            faults.silent = False
        await asyncio.sleep(30)
        assert member.owned == ALL
        assert {what for what, _ in member.told} == {"gained"}
        await member.leave()

    loop = VirtualLoop()
    loop.run_until_complete(main())
    loop.close()


def test_a_join_of_an_earlier_process_cannot_come_late() -> None:
    """It replaced the key of the member that has its name now, and took it along when its own lease ran out."""

    class FirstJoinIsLate(Faults):
        async def before(self, call: str, request: Any) -> None:
            keys = [op.request_put.key for op in getattr(request, "success", ())]
            if call == "txn" and keys == [b"c/members/a"]:
                raise Late(8.0)

    async def main() -> None:
        cluster = Cluster()
        earlier = Store(Twin(cluster, FirstJoinIsLate(), timeout=2.0), "c/")
        member = Member("a", earlier, ttl=60).start()
        await asyncio.sleep(1)
        assert member.task
        member.shards._abdicate = _nothing  # type: ignore[method-assign,assignment]
        member.task.cancel()  # killed while its join is on the way
        heir = Member("a", Store(Twin(cluster), "c/"), ttl=60).start()
        await asyncio.sleep(5)
        joined = await heir.store.get(Cell.MEMBERS("a"))
        await asyncio.sleep(20)
        assert heir.owned == ALL
        assert joined == await heir.store.get(Cell.MEMBERS("a"))
        await heir.leave()

    loop = VirtualLoop()
    loop.run_until_complete(main())
    loop.close()


async def test_a_lease_that_is_revoked_is_noticed_and_replaced(crowd: Crowd) -> None:
    crowd.join("a")
    await eventually(crowd.shared_out)
    member = crowd.members["a"]
    stored = await member.store.get(Cell.MEMBERS("a"))
    assert stored
    await member.store.etcd.revoke(stored.lease)
    await eventually(lambda: ("lost", 0) in member.told)
    await eventually(crowd.shared_out)
    await member.write(0)


async def test_a_killed_etcd_hands_out_the_shards_again(fragile_etcd: EtcdServer) -> None:
    crowd = Crowd(lambda: impatient(fragile_etcd), "killed-shards/")
    crowd.join("a", "b")
    await eventually(crowd.shared_out)
    fragile_etcd.kill()
    with pytest.raises(UnknownOutcome):
        await crowd.members["a"].write(min(crowd.members["a"].owned))
    fragile_etcd.start()
    await eventually(crowd.shared_out)

    async def all_can_write() -> bool:
        try:
            for member in crowd.members.values():
                for shard in member.owned:
                    await member.write(shard)
        except (CompareFailed, StoreUnavailable):
            return False
        return crowd.shared_out()

    await eventually(all_can_write)
    await crowd.disperse()


async def test_a_paused_etcd_loses_no_shard_for_good(fragile_etcd: EtcdServer) -> None:
    crowd = Crowd(lambda: impatient(fragile_etcd), "paused-shards/")
    crowd.join("a", "b")
    await eventually(crowd.shared_out)
    fragile_etcd.pause()
    await asyncio.sleep(TTL * 1.5)
    fragile_etcd.resume()

    async def all_can_write() -> bool:
        try:
            for member in crowd.members.values():
                for shard in member.owned:
                    await member.write(shard)
        except (CompareFailed, StoreUnavailable):
            return False
        return crowd.shared_out()

    await eventually(all_can_write)
    await crowd.disperse()
