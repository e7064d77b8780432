"""The contract of `kv.backend.Backend`: what an etcd does, real or in memory, as far as we rely on it."""

import asyncio
from typing import Any

import grpc
import pytest
from aetcd import rpc
from etcd_labs import PROGRESS, Lab, Plain, compare, delete, get, nested, put

from schemas.errors import StoreUnavailable, TooLarge

INVALID = grpc.StatusCode.INVALID_ARGUMENT


def kv(key: bytes, value: bytes, created: int, modified: int, version: int, **more: Any) -> Plain:
    found = {"key": key, "create_revision": created, "mod_revision": modified, "version": version, **more}
    return {**found, "value": value} if value else found


def keys(answer: Plain) -> bytes:
    return b" ".join(kv["key"] for kv in answer.get("kvs", ()))


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    """How etcd refused it; our error says the same, or that it is too large."""
    with pytest.raises((StoreUnavailable, TooLarge)) as caught:
        await call
    cause = caught.value.__cause__
    assert isinstance(cause, grpc.aio.AioRpcError)
    if isinstance(caught.value, StoreUnavailable):
        assert f"refused a call: {cause.code().name} {cause.details()}" in caught.value.message
    else:
        assert "too " in (cause.details() or "")
    return cause.code(), cause.details() or ""


# Revisions


async def test_each_writing_transaction_takes_one_revision(lab: Lab) -> None:
    assert await lab.revision() == 1
    assert (await lab.txn(put(b"a"), put(b"b")))["header"] == {"revision": 2}
    assert (await lab.txn(put(b"a")))["header"] == {"revision": 3}
    assert (await lab.txn(get(b"a")))["header"] == {"revision": 3}
    assert (await lab.txn(delete(b"c")))["header"] == {"revision": 3}
    assert (await lab.txn(delete(b"a")))["header"] == {"revision": 4}


async def test_a_key_counts_its_versions_since_it_was_created(lab: Lab) -> None:
    await lab.txn(put(b"a", b"1"))
    await lab.txn(put(b"a", b"2"))
    assert (await lab.range(b"a"))["kvs"] == [kv(b"a", b"2", 2, 3, 2)]
    await lab.txn(delete(b"a"))
    await lab.txn(put(b"a", b""))
    assert (await lab.range(b"a"))["kvs"] == [kv(b"a", b"", 5, 5, 1)]


async def test_the_past_is_read_until_it_is_compacted(lab: Lab) -> None:
    for value in (b"1", b"2", b"3"):
        await lab.txn(put(b"a", value), put(b"b" + value))
    await lab.txn(delete(b"a", b"b"))
    past = await lab.range(b"a", b"z", revision=lab.base + 3)
    assert past["kvs"] == [kv(b"a", b"2", 2, 3, 2), kv(b"b1", b"v", 2, 2, 1), kv(b"b2", b"v", 3, 3, 1)]
    assert past["header"] == {"revision": 5}
    await lab.compact(4)
    assert keys(await lab.range(b"a", b"z", revision=lab.base + 4)) == b"a b1 b2 b3"
    gone = grpc.StatusCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted"
    assert await refusal(lab.range(b"a", revision=lab.base + 3)) == gone
    future = grpc.StatusCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision"
    assert await refusal(lab.range(b"a", revision=lab.base + 6)) == future
    assert await refusal(lab.txn(put(b"a"), get(b"a", revision=lab.base + 6))) == future
    for revision, said in ((4, gone), (6, future)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await lab.compact(revision)
        assert (caught.value.code(), caught.value.details()) == said


# Reading


async def test_ranges_are_in_key_order_and_bounded_as_asked(lab: Lab) -> None:
    for key, value in ((b"c", b"2"), (b"a", b"3"), (b"b", b"1"), (b"b\xff", b"4")):
        await lab.txn(put(key, value))
    await lab.txn(put(b"a", b"3"))
    assert keys(await lab.range(b"a", b"c")) == b"a b b\xff"
    assert keys(await lab.range(b"b", b"\0")) == b"b b\xff c"
    assert keys(await lab.range(b"c", b"a")) == b""
    assert await lab.range(b"a", b"z", limit=2) == {
        "header": {"revision": 6},
        "kvs": [kv(b"a", b"3", 3, 6, 2), kv(b"b", b"1", 4, 4, 1)],
        "more": True,
        "count": 4,
    }
    assert await lab.range(b"a", b"z", limit=2, count_only=True) == {"header": {"revision": 6}, "count": 4}
    assert (await lab.range(b"b", keys_only=True))["kvs"] == [kv(b"b", b"", 4, 4, 1)]
    assert await lab.range(b"x") == {"header": {"revision": 6}}


async def test_ranges_are_sorted_before_they_are_cut(lab: Lab) -> None:
    for key, value in ((b"c", b"2"), (b"a", b"3"), (b"b", b"1")):
        await lab.txn(put(key, value))
    await lab.txn(put(b"b", b"1"))
    ask = rpc.RangeRequest
    down, up = {"sort_order": ask.DESCEND}, {"sort_order": ask.ASCEND}
    assert keys(await lab.range(b"a", b"z", limit=2, **down)) == b"c b"
    assert keys(await lab.range(b"a", b"z", limit=2, sort_target=ask.VALUE, **up)) == b"b c"
    assert keys(await lab.range(b"a", b"z", limit=2, sort_target=ask.MOD, **down)) == b"b a"
    assert keys(await lab.range(b"a", b"z", sort_target=ask.CREATE, **up)) == b"c a b"
    assert keys(await lab.range(b"a", b"z", sort_target=ask.VERSION, **down)) == b"b a c"
    await lab.txn(put(b"d", b"0"))
    asked = await lab.range(b"a", b"z", limit=2, sort_target=ask.VALUE)
    assert keys(asked) == b"b c", "without an order etcd takes one more than the limit by key and sorts those"


async def test_bounds_of_revisions_do_not_change_the_count(lab: Lab) -> None:
    for key in (b"a", b"b", b"c", b"a"):
        await lab.txn(put(key))
    found = await lab.range(b"a", b"z", min_mod_revision=lab.base + 4, max_create_revision=lab.base + 3)
    assert keys(found) == b"a"
    assert found["count"] == 3


# Compares


async def test_compares_of_every_kind(lab: Lab) -> None:
    lease = await lab.grant()
    await lab.txn(put(b"a", b"5", lease=lease))
    await lab.txn(put(b"a", b"5", lease=lease), put(b"b", b"7"))
    at = lab.base
    holding = [
        compare(b"a", "EQUAL", mod_revision=at + 3),
        compare(b"a", "LESS", create_revision=at + 3),
        compare(b"a", "GREATER", version=1),
        compare(b"a", "NOT_EQUAL", value=b"6"),
        compare(b"a", "EQUAL", lease=lease),
        compare(b"b", "LESS", lease=1),
        compare(b"x", "EQUAL", mod_revision=0),
        compare(b"x", "LESS", version=1),
        compare(b"a", "EQUAL", end=b"c", mod_revision=at + 3),
        compare(b"x", "EQUAL", end=b"z", create_revision=0),
        compare(b"a", "GREATER", end=b"\0", value=b"4"),
    ]
    failing = [
        compare(b"a", "EQUAL", mod_revision=at + 2),
        compare(b"a", "EQUAL", end=b"c", version=2),
        compare(b"x", "NOT_EQUAL", value=b"1"),
        compare(b"x", "EQUAL", end=b"z", value=b""),
        compare(b"a", "LESS", value=b"5"),
    ]
    for each in holding:
        assert "succeeded" in await lab.txn(compare=[each]), each
    for each in failing:
        assert "succeeded" not in await lab.txn(compare=[each]), each
    assert "succeeded" in await lab.txn(compare=holding)
    assert "succeeded" not in await lab.txn(compare=[*holding, failing[0]])


async def test_nested_compares_are_judged_before_anything_is_written(lab: Lab) -> None:
    absent = compare(b"a", "EQUAL", version=0)
    answer = await lab.txn(
        put(b"a"), nested(put(b"b"), compare=[absent]), nested(nested(put(b"c"), compare=[absent]), compare=[absent])
    )
    wrote = {"response_put": {"header": {"revision": 2}}}
    inner = {"response_txn": {"header": {}, "succeeded": True, "responses": [wrote]}}
    assert answer == {
        "header": {"revision": 2},
        "succeeded": True,
        "responses": [
            wrote,
            inner,
            {"response_txn": {"header": {}, "succeeded": True, "responses": [inner]}},
        ],
    }


async def test_a_group_of_nested_transactions_succeeds_one_by_one(lab: Lab) -> None:
    await lab.txn(put(b"taken"))
    members = [
        nested(put(name), compare=[compare(name, "EQUAL", mod_revision=0)], failure=[get(name)])
        for name in (b"free", b"taken")
    ]
    answer = await lab.txn(*members)
    assert [r["response_txn"].get("succeeded") for r in answer["responses"]] == [True, None]
    assert answer["responses"][1]["response_txn"]["responses"][0]["response_range"]["count"] == 1


async def test_reads_within_a_transaction_see_its_earlier_writes(lab: Lab) -> None:
    answer = await lab.txn(get(b"a"), put(b"a"), get(b"a"), get(b"b"))
    before, _, after, other = (next(iter(r.values())) for r in answer["responses"])
    assert before == {"header": {"revision": 1}}
    assert after == {"header": {"revision": 2}, "kvs": [kv(b"a", b"v", 2, 2, 1)], "count": 1}
    assert other == {"header": {"revision": 2}}


async def test_writes_tell_what_was_before(lab: Lab) -> None:
    await lab.txn(put(b"a", b"1"))
    answer = await lab.txn(put(b"a", b"2", prev_kv=True), put(b"b", prev_kv=True))
    assert answer["responses"][0]["response_put"]["prev_kv"] == kv(b"a", b"1", 2, 2, 1)
    assert "prev_kv" not in answer["responses"][1]["response_put"]
    answer = await lab.txn(delete(b"a", b"c", prev_kv=True), delete(b"a"))
    assert answer["responses"] == [
        {
            "response_delete_range": {
                "header": {"revision": 4},
                "deleted": 2,
                "prev_kvs": [kv(b"a", b"2", 2, 3, 2), kv(b"b", b"v", 3, 3, 1)],
            }
        },
        {"response_delete_range": {"header": {"revision": 4}}},
    ]


async def test_a_put_may_keep_the_value_or_the_lease(lab: Lab) -> None:
    lease = await lab.grant()
    await lab.txn(put(b"a", b"1", lease=lease))
    await lab.txn(put(b"a", b"2", ignore_lease=True))
    await lab.txn(put(b"a", b"", ignore_value=True))
    assert (await lab.range(b"a"))["kvs"] == [kv(b"a", b"2", 2, 4, 3)]
    for options in ({"ignore_value": True}, {"ignore_lease": True}):
        assert await refusal(lab.txn(put(b"x", b"", **options))) == (INVALID, "etcdserver: key not found")


# Refusals


@pytest.mark.parametrize(
    ("ops", "text"),
    [
        ([put(b"a"), put(b"a")], "duplicate key given in txn request"),
        ([put(b"a"), delete(b"a", b"c")], "duplicate key given in txn request"),
        ([delete(b"b"), nested(put(b"b"))], "duplicate key given in txn request"),
        ([nested(put(b"a")), nested(nested(), failure=[put(b"a")])], "duplicate key given in txn request"),
        ([nested(delete(b"a")), nested(put(b"a"))], "duplicate key given in txn request"),
        ([put(b"%d" % n) for n in range(129)], "too many operations in txn request"),
        ([nested(put(b"%d" % n)) for n in range(128)], "too many operations in txn request"),
        ([nested(*(get(b"a") for _ in range(100)))] * 29, "too many operations in txn request"),
        ([put(b"")], "key is not provided"),
        ([get(b"")], "key is not provided"),
        ([delete(b"")], "key is not provided"),
        ([rpc.RequestOp()], "key not found"),
        ([put(b"a", b"1", ignore_value=True)], "value is provided"),
        ([put(b"a", lease=1, ignore_lease=True)], "lease is provided"),
        ([put(b"a", bytes(3 << 19))], "request is too large"),
    ],
)
async def test_what_is_not_well_formed_is_refused_whole(lab: Lab, ops: list[Any], text: str) -> None:
    assert await refusal(lab.txn(put(b"good"), *ops)) == (INVALID, f"etcdserver: {text}")
    assert await lab.range(b"\0", b"\0") == {"header": {"revision": 1}}


@pytest.mark.parametrize(
    "ops",
    [
        [nested(put(b"a")), nested(delete(b"a"))],
        [nested(put(b"a"), failure=[put(b"a")])],
        [put(b"a"), delete(b"a\0", b"z")],
        [delete(b"a"), delete(b"a", b"z"), put(b"z")],
        [nested(put(b"%d" % n)) for n in range(127)],
        [nested(*(get(b"a") for _ in range(100)))] * 28,
    ],
)
async def test_what_overlaps_without_harm_is_taken(lab: Lab, ops: list[Any]) -> None:
    assert (await lab.txn(*ops))["succeeded"]


async def test_too_many_compares_are_refused_as_too_many_operations(lab: Lab) -> None:
    compares = [compare(b"a", "EQUAL", version=0)] * 129
    said = await refusal(lab.txn(compare=compares))
    assert said == (INVALID, "etcdserver: too many operations in txn request")


# Leases


async def test_what_hangs_on_a_lease_goes_with_it_in_one_revision(lab: Lab) -> None:
    lease, other = await lab.grant(), await lab.grant()
    await lab.txn(put(b"b", lease=lease), put(b"a", lease=lease), put(b"c", lease=lease), put(b"d", lease=lease))
    await lab.txn(put(b"c", lease=other), put(b"d"))
    watcher = await lab.watch()
    await watcher.create(b"\0", b"\0")
    assert await watcher.next(), "what comes before it was created is not told"
    await lab.backend.revoke(lease)
    await watcher.settle()
    gone = [{"type": rpc.Event.DELETE, "kv": {"key": key, "mod_revision": 4}} for key in (b"a", b"b")]
    assert watcher.events() == gone
    assert keys(await lab.range(b"a", b"z")) == b"c d"
    await lab.backend.revoke(await lab.grant())
    assert await lab.revision() == 4, "a lease without keys leaves no trace"
    await watcher.close()


async def test_an_unknown_lease_is_refused_before_anything_is_written(lab: Lab) -> None:
    unknown = grpc.StatusCode.NOT_FOUND, "etcdserver: requested lease not found"
    assert await refusal(lab.txn(put(b"a"), nested(put(b"b", lease=77)))) == unknown
    assert await refusal(lab.backend.revoke(77)) == unknown
    assert await lab.revision() == 1
    skipped = nested(put(b"b", lease=77), compare=[compare(b"a", "GREATER", version=0)])
    assert (await lab.txn(skipped))["succeeded"], "etcd looks at what is chosen only"


async def test_a_lease_ends_when_it_is_not_renewed(lab: Lab) -> None:
    dying, kept = await lab.grant(1), await lab.grant(1)
    await lab.txn(put(b"a", lease=dying), put(b"b", lease=kept))
    stream = await lab.backend.keepalive_stream()
    watcher = await lab.watch()
    await watcher.create(b"a", b"z")
    assert await watcher.next()
    for _ in range(8):
        await stream.write(rpc.LeaseKeepAliveRequest(ID=kept))
        answer = await stream.read()
        assert lab.plain(answer)["TTL"] == 2, "etcd grants two seconds at least"
        await asyncio.sleep(0.5)
    await stream.write(rpc.LeaseKeepAliveRequest(ID=dying))
    answer = await stream.read()
    assert lab.plain(answer) == {"header": {"revision": 3}, "ID": dying}
    await watcher.settle()
    assert watcher.events() == [{"type": rpc.Event.DELETE, "kv": {"key": b"a", "mod_revision": 3}}]
    stream.cancel()
    await watcher.close()


# Streams


async def test_progress_speaks_for_the_whole_stream(lab: Lab) -> None:
    watcher = await lab.watch()
    await watcher.stream.write(PROGRESS)
    assert await watcher.next(0.3) is None, "nothing is watched"
    await watcher.create(b"a")
    await watcher.create(b"b", start=99)
    assert [await watcher.next(), await watcher.next()] == [
        {"header": {"revision": 1}, "created": True},
        {"header": {"revision": 1}, "watch_id": 1, "created": True},
    ]
    await lab.txn(put(b"x"))
    await watcher.stream.write(PROGRESS)
    assert await watcher.next() == {"header": {"revision": 2}, "watch_id": -1}
    await watcher.close()


async def test_a_cancelled_read_ends_the_stream(lab: Lab) -> None:
    stream = await lab.backend.watch_stream()
    reading = asyncio.ensure_future(stream.read())
    await asyncio.sleep(0.05)
    reading.cancel()
    await asyncio.wait([reading])
    with pytest.raises(asyncio.CancelledError):
        await stream.read()
    with pytest.raises(asyncio.InvalidStateError):
        await stream.write(PROGRESS)


async def test_a_cancelled_stream_ends_a_pending_read(lab: Lab) -> None:
    stream = await lab.backend.keepalive_stream()
    reading = asyncio.ensure_future(stream.read())
    await asyncio.sleep(0.05)
    assert stream.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert not stream.cancel()
