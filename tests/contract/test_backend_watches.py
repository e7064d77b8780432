"""The contract of `kv.backend.Backend`, watches: what a stream tells of the present and of the past."""

import asyncio
from typing import Any

import pytest
from aetcd import rpc
from etcd_labs import PROGRESS, Lab, Plain, Watcher, delete, nested, put


def was_put(key: bytes, value: bytes, created: int, modified: int, version: int, **more: Any) -> Plain:
    kv = {"key": key, "create_revision": created, "mod_revision": modified, "version": version, "value": value}
    return {"kv": kv, **more}


def was_deleted(key: bytes, modified: int, **more: Any) -> Plain:
    return {"type": rpc.Event.DELETE, "kv": {"key": key, "mod_revision": modified}, **more}


async def opened(lab: Lab, key: bytes, end: bytes = b"", start: int = 0, **options: Any) -> Watcher:
    """A stream with one watch, whose creation was answered."""
    watcher = await lab.watch()
    await watcher.create(key, end, start, **options)
    answer = await watcher.next()
    assert answer
    assert answer["created"]
    return watcher


async def test_a_transaction_is_told_at_once_and_in_the_order_of_its_operations(lab: Lab) -> None:
    watcher = await opened(lab, b"a", b"c")
    await lab.txn(put(b"b", b"1"), nested(put(b"a", b"2")), put(b"c", b"3"))
    assert await watcher.next() == {
        "header": {"revision": 2},
        "events": [was_put(b"b", b"1", 2, 2, 1), was_put(b"a", b"2", 2, 2, 1)],
    }
    await lab.txn(put(b"x"))
    await lab.txn(delete(b"a", b"z"))
    assert await watcher.next() == {
        "header": {"revision": 4},
        "events": [was_deleted(b"a", 4), was_deleted(b"b", 4)],
    }
    await watcher.close()


async def test_the_past_is_told_from_the_revision_asked_for(lab: Lab) -> None:
    for value in (b"1", b"2", b"3"):
        await lab.txn(put(b"a", value), put(b"b", value))
    await lab.txn(delete(b"a"))
    watcher = await opened(lab, b"a", start=3)
    await watcher.settle()
    await lab.txn(put(b"a", b"4"))
    await watcher.settle()
    assert watcher.events() == [
        was_put(b"a", b"2", 2, 3, 2),
        was_put(b"a", b"3", 2, 4, 3),
        was_deleted(b"a", 5),
        was_put(b"a", b"4", 6, 6, 1),
    ]
    await watcher.close()


async def test_a_watch_of_the_future_skips_what_comes_before(lab: Lab) -> None:
    watcher = await opened(lab, b"a", start=4)
    for value in (b"2", b"3", b"4"):
        await lab.txn(put(b"a", value))
    await watcher.settle()
    assert watcher.events() == [was_put(b"a", b"4", 2, 4, 3)]
    await watcher.close()


async def test_a_long_past_comes_in_batches_that_all_bear_the_present_revision(lab: Lab) -> None:
    """Such a batch's revision is not yet complete: who resumes there would miss the rest."""
    for start in range(0, 1100, 100):
        await asyncio.gather(*(lab.txn(put(b"k%d" % n)) for n in range(start, start + 100)))
    watcher = await opened(lab, b"k", b"l", start=2)
    first, second = await watcher.next(), await watcher.next()
    assert first
    assert second
    assert [(len(a["events"]), a["header"]["revision"]) for a in (first, second)] == [(1000, 1101), (100, 1101)]
    assert [e["kv"]["mod_revision"] for e in watcher.events()] == list(range(2, 1102))
    await watcher.close()


async def test_what_was_before_is_told_on_request(lab: Lab) -> None:
    watcher = await opened(lab, b"a", prev_kv=True)
    await lab.txn(put(b"a", b"1"))
    await lab.txn(put(b"a", b"2"))
    await lab.txn(delete(b"a"))
    await watcher.settle()
    first, second = was_put(b"a", b"1", 2, 2, 1), was_put(b"a", b"2", 2, 3, 2)
    assert watcher.events() == [
        first,
        {**second, "prev_kv": first["kv"]},
        was_deleted(b"a", 4, prev_kv=second["kv"]),
    ]
    await watcher.close()


async def test_a_key_written_and_deleted_in_one_transaction_was_before_what_it_was_before_both(lab: Lab) -> None:
    await lab.txn(put(b"a", b"1"))
    watcher = await opened(lab, b"a", prev_kv=True)
    await lab.txn(nested(put(b"a", b"2")), nested(delete(b"a")))
    await watcher.settle()
    before = was_put(b"a", b"1", 2, 2, 1)["kv"]
    assert watcher.events() == [was_put(b"a", b"2", 2, 3, 2, prev_kv=before), was_deleted(b"a", 3, prev_kv=before)]
    assert (await lab.range(b"a", revision=lab.base + 2))["kvs"] == [before]
    await watcher.close()


async def test_filters_leave_out_puts_or_deletes(lab: Lab) -> None:
    create = rpc.WatchCreateRequest
    puts = await opened(lab, b"a", filters=[create.NODELETE])
    deletes = await opened(lab, b"a", filters=[create.NOPUT])
    await lab.txn(put(b"a", b"1"))
    await lab.txn(delete(b"a"))
    await puts.settle()
    await deletes.settle()
    assert puts.events() == [was_put(b"a", b"1", 2, 2, 1)]
    assert deletes.events() == [was_deleted(b"a", 3)]
    await puts.close()
    await deletes.close()


async def test_many_watches_share_a_stream_by_their_ids(lab: Lab) -> None:
    watcher = await opened(lab, b"a")
    await watcher.create(b"a", b"c", watch_id=7)
    await watcher.create(b"", b"\0")
    await watcher.settle()
    await lab.txn(put(b"a", b"1"))
    await lab.txn(put(b"b", b"2"))
    await watcher.settle()
    a, b = was_put(b"a", b"1", 2, 2, 1), was_put(b"b", b"2", 3, 3, 1)
    assert [watcher.events(n) for n in (0, 7, 1)] == [[a], [a, b], [a, b]]
    await watcher.cancel(7)
    assert await watcher.next() == {"header": {"revision": 3}, "watch_id": 7, "canceled": True}
    await watcher.cancel(55)
    await lab.txn(delete(b"b"))
    await watcher.settle()
    assert [watcher.events(n) for n in (0, 7, 1)] == [[a], [a, b], [a, b, was_deleted(b"b", 4)]]
    await watcher.close()


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"key": b"b", "end": b"a"}, "mvcc: watcher range is empty"),
        ({"key": b"b", "watch_id": 5}, "mvcc: duplicate watch ID provided on the WatchStream"),
    ],
)
async def test_a_watch_that_cannot_be_is_refused_alone(lab: Lab, request_: dict[str, Any], reason: str) -> None:
    watcher = await opened(lab, b"b", watch_id=5)
    await watcher.create(**request_)
    assert await watcher.next() == {
        "header": {"revision": 1},
        "watch_id": -1,
        "created": True,
        "canceled": True,
        "cancel_reason": reason,
    }
    await lab.txn(put(b"b", b"1"))
    await watcher.settle()
    assert watcher.events(5) == [was_put(b"b", b"1", 2, 2, 1)]
    await watcher.close()


# Compaction


async def test_a_watch_from_a_compacted_revision_is_made_and_cancelled(lab: Lab) -> None:
    for value in (b"1", b"2", b"3"):
        await lab.txn(put(b"a", value))
    await lab.compact(4)
    watcher = await opened(lab, b"a", start=3)
    assert await watcher.next() == {"header": {}, "canceled": True, "compact_revision": 4}
    await watcher.close()


async def test_a_compacted_watch_holds_up_progress_until_it_is_cancelled(lab: Lab) -> None:
    """On a stream that many share, its owner has to cancel it though etcd did so already."""
    await lab.txn(put(b"a"))
    await lab.txn(put(b"a"))
    await lab.compact(3)
    watcher = await opened(lab, b"b")
    await watcher.create(b"a", start=2)
    answers = [await watcher.next(), await watcher.next()]
    assert [a and a["watch_id"] for a in answers] == [1, 1]
    await watcher.stream.write(PROGRESS)
    assert await watcher.next(0.3) is None
    await watcher.cancel(1)
    assert await watcher.next() == {"header": {"revision": 3}, "watch_id": 1, "canceled": True}
    await watcher.stream.write(PROGRESS)
    assert await watcher.next() == {"header": {"revision": 3}, "watch_id": -1}
    await watcher.close()


async def test_the_compacted_revision_itself_can_still_be_watched(lab: Lab) -> None:
    await lab.txn(put(b"a", b"1"), put(b"b", b"1"))
    await lab.txn(delete(b"a"), put(b"b", b"2"), nested(put(b"c")), nested(delete(b"c")))
    await lab.txn(put(b"b", b"3"))
    await lab.compact(3)
    watcher = await opened(lab, b"a", b"z", start=3, prev_kv=True)
    await watcher.settle()
    second = was_put(b"b", b"2", 2, 3, 2)
    told = sorted(watcher.events(), key=lambda e: (e["kv"]["mod_revision"], e["kv"]["key"]))
    assert told == [
        was_deleted(b"a", 3),
        second,
        was_deleted(b"c", 3),
        was_put(b"b", b"3", 2, 4, 3, prev_kv=second["kv"]),
    ]
    await watcher.close()


async def test_a_watch_that_is_up_to_date_does_not_notice_compaction(lab: Lab) -> None:
    watcher = await opened(lab, b"a", start=1)
    await lab.txn(put(b"a", b"1"))
    await watcher.settle()
    await lab.compact(2)
    await lab.txn(put(b"a", b"2"))
    await watcher.settle()
    assert watcher.events() == [was_put(b"a", b"1", 2, 2, 1), was_put(b"a", b"2", 2, 3, 2)]
    await watcher.close()
