"""Spans of any size are read by bounded requests of narrow ranges, complete and in order, wherever their keys lie."""

from collections.abc import Callable
from random import Random
from typing import Any
from uuid import UUID

import grpc
import pytest
from aetcd import rpc

from kv import scan
from kv.backend import Backend, explain
from kv.keys import Family
from kv.scan import answers
from kv.store import Store
from kv.twin.client import Twin
from kv.twin.cluster import Cluster
from kv.twin.refusals import refused
from kv.txn import Txn
from schemas.errors import HistoryCompacted

NOTES = Family("notes/{box}/{name}", str)
SIZE = 20


class Counting(Twin):
    """Notes how many keys each range touches: what it costs etcd."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.touched: list[int] = []

    async def range(self, request: rpc.RangeRequest) -> rpc.RangeResponse:
        answer = await super().range(request)
        self.touched.append(answer.count)
        return answer


def uuids(random: Random) -> list[str]:
    return [str(UUID(int=random.getrandbits(128))) for _ in range(2000)]


def projects(random: Random) -> list[str]:
    """As the servers of projects: crowds of keys close together, far from each other."""
    found = []
    for n in range(20):
        at, project = random.randrange(10**15), f"{random.getrandbits(128):032x}"
        found += [f"{project}/{at + random.randrange(10**6):016d}" for _ in range((3, 40, 257)[n % 3])]
    return found


def numbers(_: Random) -> list[str]:
    return [str(n) for n in range(1000)]


def alike(_: Random) -> list[str]:
    """Longer than the part of a key that counts."""
    return ["x" * 100 + f"{n:05}" for n in range(300)]


SHAPES: list[Callable[[Random], list[str]]] = [uuids, projects, numbers, alike, lambda _: [], lambda _: ["one"]]


async def fill(store: Store, names: list[str]) -> list[str]:
    for start in range(0, len(names), 100):
        txn = Txn("fill")
        for name in names[start : start + 100]:
            txn.put(NOTES("a", name), name)
        await store.commit(txn)
    return sorted(names)


@pytest.mark.parametrize("shape", SHAPES, ids=["uuids", "projects", "numbers", "alike", "none", "one"])
async def test_pages_hold_every_record_once_and_in_order(
    store: Store, shape: Callable[[Random], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "PAGE", SIZE)
    monkeypatch.setattr(scan, "KEYS_PAGE", SIZE)
    names = await fill(store, shape(Random(1)))
    pages = [page async for page in store.pages(NOTES.under(), SIZE)]
    assert sorted(record.value for page in pages for record in page) == names
    assert [s.key.path for page in pages for s in page] == sorted(NOTES("a", n).path for n in names)
    assert all(0 < len(page) <= SIZE for page in pages)
    paths = [path async for page in store.path_pages(NOTES.under(), SIZE) for path in page]
    assert paths == [s.key.path for page in pages for s in page]
    assert [s.key.path for s in await store.range(NOTES.under("a", ""))] == paths
    assert await store.paths(NOTES.under()) == paths
    if names:
        revision = await store.commit(Txn("change").put(NOTES("a", names[0]), "new").put(NOTES("b", "x"), "new"))
        assert [s.value for s in await store.changed(NOTES.under(), revision - 1)] == ["new", "new"]
        assert set((await store.revisions(NOTES.under("b", ""))).values()) == {revision}


@pytest.mark.parametrize(("shape", "most"), [(uuids, 3), (numbers, 5), (projects, 8)])
async def test_a_large_span_costs_etcd_little_more_than_its_keys(
    shape: Callable[[Random], list[str]], most: int
) -> None:
    """Pages by a limit alone cost the square of the span: a million keys were two minutes of the server's time."""
    etcd = Counting(Cluster())
    store = Store(etcd, "test/")
    names = await fill(store, shape(Random(2)))
    etcd.touched.clear()
    async for _ in store.pages(NOTES.under(), SIZE):
        pass
    first, *others = etcd.touched
    assert first == len(names), "the first request covers the span"
    assert sum(others) <= most * len(names)
    assert len(others) <= most * len(names) / SIZE


async def test_a_small_span_takes_one_request() -> None:
    etcd = Counting(Cluster())
    store = Store(etcd, "test/")
    await fill(store, [f"{n}" for n in range(5)])
    etcd.touched.clear()
    assert len(await store.range(NOTES.under())) == 5
    assert etcd.touched == [5]


async def test_all_answers_are_of_one_revision_if_asked_for(store: Store) -> None:
    names = await fill(store, uuids(Random(3))[:100])
    start, end = (store.prefix + "notes/").encode(), (store.prefix + "notes0").encode()
    for revision, last in ((0, names[-1]), (None, "new")):
        found: list[Any] = []
        async for answer in answers(store.etcd, start, end, revision=revision, size=SIZE):
            found += answer.kvs
            await store.commit(Txn("change").put(NOTES("a", names[-1]), "new"))
        assert found[-1].value == f'"{last}"'.encode()


async def test_a_compacted_revision_is_told_apart(connect: Callable[[], Backend]) -> None:
    etcd = connect()
    error = explain(
        "x",
        refused((grpc.StatusCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted")),
        writes=False,
    )
    assert isinstance(error, HistoryCompacted)
    await etcd.close()


async def test_records_too_large_for_a_message_come_in_smaller_pages() -> None:
    """A page of large records outgrew what gRPC accepts, each time that it was asked for."""

    class Small(Counting):
        async def range(self, request: rpc.RangeRequest) -> rpc.RangeResponse:
            answer = await super().range(request)
            if (size := answer.ByteSize()) > 40_000:
                text = f"CLIENT: Received message larger than max ({size} vs. 40000)"
                error = refused((grpc.StatusCode.RESOURCE_EXHAUSTED, text))
                raise explain(self.target, error, writes=False) from error
            return answer

    store = Store(Small(Cluster()), "test/")
    for n in range(50):
        await store.commit(Txn("fill").put(NOTES("a", f"{n:02}"), "x" * 3000))
    assert len(await store.range(NOTES.under())) == 50
