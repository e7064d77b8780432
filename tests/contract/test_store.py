"""The contract of `kv.store.Store`: records in and out of etcd, guarded transactions, honest errors."""

import asyncio
from pathlib import Path

import pytest
from aetcd import rpc
from attrs import frozen
from prometheus_client import REGISTRY
from substrate import EtcdServer, running

from kv.client import Etcd
from kv.keys import Family
from kv.store import Store
from kv.txn import Stored, Txn
from schemas.codec import record
from schemas.errors import CompareFailed, StoreFull, StoreUnavailable, TooLarge, UnknownOutcome, UnreadableRecord
from schemas.settings import StoreSettings


@record(1)
@frozen
class Note:
    text: str


NOTES = Family("notes/{box}/{name}", Note)
PLAIN = Family("plain/{name}", str)


async def put(store: Store, box: str, *names: str) -> None:
    for start in range(0, len(names), 100):
        txn = Txn("fill")
        for name in names[start : start + 100]:
            txn.put(NOTES(box, name), Note(name))
        await store.commit(txn)


async def fetched(store: Store, name: str) -> Stored[Note]:
    stored = await store.get(NOTES("a", name))
    assert stored is not None
    return stored


def _texts(found: list[Stored[Note]]) -> list[str]:
    return [stored.value.text for stored in found]


# Reading


async def test_what_was_written_is_read_with_its_revisions(store: Store) -> None:
    first = await store.commit(Txn("write").create(NOTES("a", "1"), Note("one")))
    second = await store.commit(Txn("write").replace(await fetched(store, "1"), Note("uno")))
    stored = await store.get(NOTES("a", "1"))
    assert stored == Stored(NOTES("a", "1"), Note("uno"), mod_revision=second, create_revision=first)
    assert second > first
    assert await store.get(NOTES("a", "2")) is None


async def test_several_records_are_of_one_revision_and_in_order(store: Store) -> None:
    await put(store, "a", "1", "2")
    one, missing, two = await store.read(NOTES("a", "1"), PLAIN("x"), NOTES("a", "2"))
    assert one
    assert two
    assert (one.value, missing, two.value) == (Note("1"), None, Note("2"))


async def test_more_records_than_a_transaction_takes(store: Store) -> None:
    names = [f"{n:03}" for n in range(300)]
    await put(store, "a", *names)
    keys = [NOTES("a", name) for name in [*names, "999"]]
    found = await store.read_all(keys)
    assert [s.value.text if s else None for s in found] == [*names, None]
    assert await store.read_all([]) == []


async def test_a_range_is_in_key_order_and_ends_where_its_span_does(store: Store) -> None:
    await put(store, "a", "3", "1", "2")
    await put(store, "ab", "4")
    await put(store, "b", "5")
    assert _texts(await store.range(NOTES.under("a"))) == ["1", "2", "3"]
    assert await store.count(NOTES.under()) == 5
    assert await store.paths(NOTES.under("b")) == ["notes/b/5"]


async def test_a_window_begins_at_the_end_and_tells_what_it_cost(store: Store) -> None:
    await put(store, "a", "3", "1", "2")
    await put(store, "b", "4")
    for limit, expected in ((2, ["3", "2"]), (3, ["3", "2", "1"]), (9, ["3", "2", "1"])):
        found, count = await store.window(NOTES.under("a"), limit)
        assert (_texts(found), count) == (expected, 3)
    assert await store.window(NOTES.under("c"), 5) == ([], 0)


async def test_a_span_between_two_names(store: Store) -> None:
    await put(store, "a", "1", "2", "3", "4")
    window = NOTES.between("a", start="2", end="4")
    assert _texts(await store.range(window)) == ["2", "3"]
    assert _texts(await store.range(NOTES.between("a", start="3"))) == ["3", "4"]


async def test_a_snapshot_tells_its_revision(store: Store) -> None:
    revision = await store.commit(Txn("write").put(NOTES("a", "1"), Note("one")))
    found, seen = await store.snapshot(NOTES.under())
    assert [s.mod_revision for s in found] == [revision]
    assert seen >= revision


async def test_a_span_that_is_read_again_decodes_only_what_changed(store: Store) -> None:
    await put(store, "a", "1", "2", "3")
    known: dict[str, Stored[Note]] = {}
    first = await store.range_again(NOTES.under(), known)
    assert first == await store.range(NOTES.under())
    txn = Txn("change").put(NOTES("a", "1"), Note("new")).delete(NOTES("a", "2")).put(NOTES("a", "4"), Note("more"))
    await store.commit(txn)
    again = await store.range_again(NOTES.under(), known)
    assert again == await store.range(NOTES.under())
    assert again[1] is first[2], "the third is as it was"
    assert list(known.values()) == again


async def test_stores_with_other_prefixes_see_nothing_of_each_other(store: Store) -> None:
    other = Store(store.etcd, f"{store.prefix.rstrip('/')}-other/")
    await put(store, "a", "1")
    assert await other.get(NOTES("a", "1")) is None
    assert await other.count(NOTES.under()) == 0


async def test_names_with_slashes_stay_one_part_of_a_key(store: Store) -> None:
    await put(store, "a", "b/c", "b%2fc")
    assert await store.count(NOTES.under("a")) == 2
    assert (await fetched(store, "b/c")).value == Note("b/c")


async def test_an_unreadable_record_says_where_it_is_and_harms_no_other(store: Store) -> None:
    """An operator saw `not a Note: ...` and had to search the whole store for the key. Each list that held one failed
    as a whole: one operation that a conductor could not read kept it from all operations of its store."""
    await put(store, "a", "0")
    gauge = "kilonova_store_unreadable_records", {"store": f"{store.etcd.target} {store.prefix}"}
    key = (store.prefix + NOTES("a", "1").path).encode()
    for garbage in (b"{", b"[]", b"{}", b'{"record": "Other/1", "text": "x"}', b'{"record": "Note/2", "text": "x"}'):
        op = rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=garbage))
        await store.etcd.txn(rpc.TxnRequest(success=[op]), writes=True)
        with pytest.raises(UnreadableRecord, match="notes/a/1"):
            await store.get(NOTES("a", "1"))
        assert _texts(await store.range(NOTES.under())) == ["0"]
        assert _texts(await store.ranges([NOTES.under()])) == ["0"]
        assert _texts(await store.changed(NOTES.under(), 1)) == ["0"]
        assert _texts((await store.window(NOTES.under(), 5))[0]) == ["0"]
        assert [_texts(page) async for page in store.pages(NOTES.under())] == [["0"]]
        assert _texts(await store.range_again(NOTES.under(), {})) == ["0"]
        assert REGISTRY.get_sample_value(*gauge) == 1
    await store.commit(Txn("repair").put(NOTES("a", "1"), Note("1")))
    assert len(await store.range(NOTES.under())) == 2
    assert REGISTRY.get_sample_value(*gauge) == 0


# Guarded transactions


async def test_creating_needs_absence(store: Store) -> None:
    await store.commit(Txn("make").create(NOTES("a", "1"), Note("one")))
    with pytest.raises(CompareFailed, match="make: what it was decided on"):
        await store.commit(Txn("make").create(NOTES("a", "1"), Note("other")))
    assert (await fetched(store, "1")).value == Note("one")


async def test_replacing_and_removing_need_the_record_as_it_was_read(store: Store) -> None:
    await put(store, "a", "1")
    stale = await fetched(store, "1")
    await store.commit(Txn("change").replace(stale, Note("changed")))
    for losing in (Txn("x").replace(stale, Note("lost")), Txn("x").remove(stale), Txn("x").unchanged(stale)):
        with pytest.raises(CompareFailed):
            await store.commit(losing)
    current = await fetched(store, "1")
    assert current.value == Note("changed")
    await store.commit(Txn("end").remove(current))
    assert await store.get(NOTES("a", "1")) is None
    with pytest.raises(CompareFailed):
        await store.commit(Txn("x").replace(current, Note("risen")))


async def test_a_transaction_does_all_or_nothing(store: Store) -> None:
    await put(store, "a", "1", "2")
    stale = await fetched(store, "1")
    await put(store, "a", "1")
    txn = Txn("both").replace(stale, Note("x")).delete(NOTES("a", "2")).put(NOTES("a", "3"), Note("3"))
    with pytest.raises(CompareFailed):
        await store.commit(txn)
    assert _texts(await store.range(NOTES.under("a"))) == ["1", "2"]
    assert txn.revision == 0


async def test_one_transaction_has_one_revision(store: Store) -> None:
    txn = Txn("both").put(NOTES("a", "1"), Note("1")).put(NOTES("a", "2"), Note("2"))
    revision = await store.commit(txn)
    assert txn.revision == revision
    assert {s.mod_revision for s in await store.range(NOTES.under())} == {revision}


async def test_a_record_written_again_has_a_new_revision_and_keeps_its_lease(store: Store) -> None:
    lease = await store.etcd.grant(60)
    await store.commit(Txn("write").create(NOTES("a", "1"), Note("1"), lease))
    before = await fetched(store, "1")
    await store.commit(Txn("again").replace(before, before.value))
    after = await fetched(store, "1")
    assert (after.lease, before.lease) == (lease, lease)
    assert after.mod_revision > before.mod_revision
    assert after.create_revision == before.create_revision
    await store.etcd.revoke(lease)
    assert await store.get(NOTES("a", "1")) is None


# Many at once: group commit


async def test_many_at_once_are_each_judged_by_their_own_compares(store: Store) -> None:
    await put(store, "a", "odd")
    stale = await fetched(store, "odd")
    await put(store, "a", "odd")
    txns = [Txn("mass").create(NOTES("m", f"{n:03}"), Note(str(n))) for n in range(200)]
    for txn in txns[::3]:
        txn.unchanged(stale)
    results = await asyncio.gather(*(store.commit(t) for t in txns), return_exceptions=True)
    assert [isinstance(r, CompareFailed) for r in results] == [n % 3 == 0 for n in range(200)]
    expected = [f"notes/m/{n:03}" for n in range(200) if n % 3]
    assert await store.paths(NOTES.under("m")) == expected


async def test_of_those_that_want_the_same_record_one_wins(store: Store) -> None:
    await put(store, "a", "1")
    before = await fetched(store, "1")
    txns = [Txn("race").replace(before, Note(str(n))) for n in range(50)]
    results = await asyncio.gather(*(store.commit(t) for t in txns), return_exceptions=True)
    assert sum(isinstance(r, int) for r in results) == 1
    assert sum(isinstance(r, CompareFailed) for r in results) == 49


async def test_a_counter_under_many_hands_loses_nothing(store: Store) -> None:
    await put(store, "a", "0")

    async def increment() -> None:
        while True:
            stored = await fetched(store, "0")
            try:
                await store.commit(Txn("count").replace(stored, Note(str(int(stored.value.text) + 1))))
                return
            except CompareFailed:
                continue

    await asyncio.gather(*(increment() for _ in range(20)))
    assert (await fetched(store, "0")).value == Note("20")


async def test_one_bad_transaction_does_not_spoil_its_neighbours(store: Store) -> None:
    """A put under a lease that was gone failed every transaction that travelled with it."""
    gone = await store.etcd.grant(60)
    await store.etcd.revoke(gone)
    bad = [
        Txn("no lease").put(NOTES("bad", "1"), Note("1"), gone),
        Txn("too large").put(NOTES("bad", "2"), Note("x" * (2 << 20))),
    ]
    wide = Txn("too wide")
    for n in range(200):
        wide.put(NOTES("bad", f"3-{n}"), Note("x"))
    bad.append(wide)
    good = [Txn("good").create(NOTES("good", str(n)), Note("x")) for n in range(20)]
    txns = [*good[:10], *bad, *good[10:]]
    results = await asyncio.gather(*(store.commit(t) for t in txns), return_exceptions=True)
    outcome = dict(zip((t.purpose for t in txns), results, strict=True))
    assert isinstance(outcome["good"], int), outcome
    for txn in bad:
        assert isinstance(outcome[txn.purpose], StoreUnavailable | TooLarge), outcome[txn.purpose]
        assert not isinstance(outcome[txn.purpose], UnknownOutcome)
    assert await store.count(NOTES.under("good")) == 20
    assert await store.count(NOTES.under("bad")) == 0


async def test_a_waiter_that_gives_up_leaves_the_others_alone(store: Store) -> None:
    tasks = [asyncio.create_task(store.commit(Txn("x").create(NOTES("g", str(n)), Note("x")))) for n in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(r, int) for r in results[1::2]), results


# When etcd does not answer


def patient(server: EtcdServer, timeout: float = 0.5) -> Etcd:
    return Etcd(StoreSettings(endpoints=(server.endpoint,), timeout=timeout))


async def test_a_paused_etcd_leaves_a_write_unknown_and_a_read_unavailable(fragile_etcd: EtcdServer) -> None:
    etcd = patient(fragile_etcd)
    store = Store(etcd, "paused/")
    await put(store, "a", "1")
    before = await fetched(store, "1")
    fragile_etcd.pause()
    with pytest.raises(StoreUnavailable) as read:
        await store.get(NOTES("a", "1"))
    assert not isinstance(read.value, UnknownOutcome)
    with pytest.raises(UnknownOutcome):
        await store.commit(Txn("late").replace(before, Note("late")))
    group = [store.commit(Txn("group").create(NOTES("g", str(n)), Note("x"))) for n in range(5)]
    assert {type(r) for r in await asyncio.gather(*group, return_exceptions=True)} == {UnknownOutcome}
    fragile_etcd.resume()

    # It may still apply. Rewriting what it compares makes that impossible, then reading tells.
    current = await _until_answered(store, "1")
    if current.value == Note("1"):
        try:
            await store.commit(Txn("settle").replace(current, current.value))
        except CompareFailed:
            assert (await fetched(store, "1")).value == Note("late")
            await etcd.close()
            return
        settled = await fetched(store, "1")
        await asyncio.sleep(0.5)
        assert await fetched(store, "1") == settled
    await etcd.close()


async def test_a_killed_etcd_is_an_error_at_once_and_found_again(fragile_etcd: EtcdServer) -> None:
    etcd = patient(fragile_etcd, timeout=2.0)
    store = Store(etcd, "killed/")
    await put(store, "a", "1")
    fragile_etcd.kill()
    with pytest.raises(UnknownOutcome):
        await store.commit(Txn("x").put(NOTES("a", "2"), Note("2")))
    with pytest.raises(StoreUnavailable):
        await store.range(NOTES.under())
    fragile_etcd.start()
    assert (await _until_answered(store, "1")).value == Note("1")
    await put(store, "a", "3")
    await etcd.close()


@pytest.mark.parametrize("connect", ["etcd"], indirect=True)
async def test_the_second_endpoint_serves_when_the_first_does_not(etcd_endpoint: str, store: Store) -> None:
    nobody = "127.0.0.1:1"
    etcd = Etcd(StoreSettings(endpoints=(nobody, etcd_endpoint), timeout=2.0))
    other = Store(etcd, store.prefix)
    await put(other, "a", "1")
    assert (await fetched(store, "1")).value == Note("1")
    await etcd.close()


async def test_a_full_etcd_says_what_to_type(tmp_path: Path) -> None:
    server = EtcdServer(tmp_path / "small", "--quota-backend-bytes", str(1 << 20))
    with running(server):
        etcd = patient(server, timeout=5)
        store = Store(etcd, "full/")

        async def fill() -> None:
            while True:  # it learns its own size with a delay
                await store.commit(Txn("fill").put(NOTES("a", "1"), Note("x" * 200_000)))

        with pytest.raises(StoreFull, match="kilonova etcd defrag --compact"):
            await fill()
        with pytest.raises(StoreFull):
            await store.commit(Txn("more").put(NOTES("a", "x"), Note("x")))
        assert await store.count(NOTES.under()) > 0
        await etcd.close()


async def _until_answered(store: Store, name: str) -> Stored[Note]:
    async with asyncio.timeout(30):
        while True:
            try:
                return await fetched(store, name)
            except StoreUnavailable:
                await asyncio.sleep(0.05)


async def test_closing_leaves_nobody_waiting(fragile_etcd: EtcdServer) -> None:
    """A commit in flight waited for ever: gRPC ends its calls by cancelling them, and the group told its members only
    of errors."""
    etcd = patient(fragile_etcd, timeout=5.0)
    store = Store(etcd, "closing/")
    await put(store, "a", "1")
    fragile_etcd.pause()
    writes = [asyncio.create_task(store.commit(Txn("x").create(NOTES("c", str(n)), Note("x")))) for n in range(3)]
    await asyncio.sleep(0.1)
    await etcd.close()
    done, waiting = await asyncio.wait(writes, timeout=2)
    assert not waiting
    assert {type(task.exception()) for task in done} == {UnknownOutcome}
