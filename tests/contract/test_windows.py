"""Pages of time-ordered keys come whole and in order, however the keys lie in time; and cost little."""

from itertools import pairwise
from random import Random

import pytest
from aetcd import rpc

from kv import windows
from kv.keys import Global
from kv.store import Store
from kv.twin.client import Twin
from kv.twin.cluster import Cluster
from kv.txn import Txn
from kv.windows import newest
from schemas.server import ServerIndex, time_key

NOW = 1_800_000_000_000_000
DAY = 86_400_000_000
SPAN = Global.PROJECT_SERVERS.under("p")


class Counting(Twin):
    """Notes how many keys each range touches: what it costs etcd."""

    touched = 0

    async def range(self, request: rpc.RangeRequest) -> rpc.RangeResponse:
        answer = await super().range(request)
        self.touched += 0 if request.count_only else answer.count
        return answer


@pytest.fixture
def store() -> Store:
    windows.forget()
    return Store(Counting(Cluster()), "test/")


async def put(store: Store, times: list[int]) -> list[str]:
    """Their keys, newest first."""
    keys = [Global.PROJECT_SERVERS("p", time_key(us, f"{n:036d}")) for n, us in enumerate(times)]
    for i in range(0, len(keys), 100):
        txn = Txn("test")
        for key in keys[i : i + 100]:
            txn.put(key, ServerIndex("p"))
        await store.commit(txn)
    return sorted((key.path for key in keys), reverse=True)


SPREADS = {
    "even": [NOW - n * 1_000_000 for n in range(300)],
    "old": [NOW - 400 * DAY - n * 1_000 for n in range(300)],
    "crowded": [NOW - DAY + n // 50 for n in range(300)],
    "gaps": [NOW - d * DAY - n * 7_000 for d in (0, 1, 90, 2000) for n in range(75)],
    "random": [NOW - int(Random(1).paretovariate(0.3) * 1_000) % (900 * DAY) for _ in range(300)],
    "few": [NOW - 5 * DAY],
    "none": [],
    "later than now": [NOW + 5_000_000 + n for n in range(20)],
}


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("limit", [1, 7, 100, 1000])
async def test_a_walk_finds_everything_once_and_in_order(store: Store, spread: str, limit: int) -> None:
    expected = await put(store, SPREADS[spread])
    for _ in range(2):  # what the first walk learnt must not lead the second one astray
        seen: list[str] = []
        before = None
        while True:
            page = [line.key.path for line in await newest(store, SPAN, limit, NOW, before)]
            seen += page
            if len(page) < limit:
                break
            before = page[-1]
        assert seen == expected
        assert all(a > b for a, b in pairwise(seen))


async def test_what_came_since_the_last_look_is_on_the_page(store: Store) -> None:
    old = await put(store, SPREADS["old"])
    assert [line.key.path for line in await newest(store, SPAN, 10, NOW)] == old[:10]
    new = await put(store, [NOW + n for n in range(3)])
    assert [line.key.path for line in await newest(store, SPAN, 10, NOW + 10)] == new + old[:7]


@pytest.mark.parametrize("spread", ["even", "old", "gaps"])
async def test_a_page_costs_a_page(store: Store, spread: str) -> None:
    await put(store, SPREADS[spread])
    etcd = store.etcd
    assert isinstance(etcd, Counting)
    for _ in range(3):
        etcd.touched = 0
        assert len(await newest(store, SPAN, 10, NOW)) == 10
    assert etcd.touched <= 50
