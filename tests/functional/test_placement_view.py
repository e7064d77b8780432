"""Placement's view on a real etcd: as new as the moment of the question, and equal to one that is built from zero."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
from substrate import EtcdServer, eventually
from unit_placement import Rp, allocation

from control.placement.forest import Forest
from control.placement.resources import lacking, with_claim
from control.placement.view import View
from kv.client import Etcd
from kv.keys import Global
from kv.store import Store
from kv.txn import Txn
from schemas.errors import CompareFailed, StoreUnavailable
from schemas.placement import Usages
from schemas.settings import StoreSettings


@asynccontextmanager
async def watching(store: Store) -> AsyncIterator[View]:
    view = View(store)
    task = asyncio.create_task(view.run())
    try:
        async with asyncio.timeout(30):
            await view.synced.wait()
        yield view
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def creation(rp: Rp) -> Txn:
    return Txn("create").create(Global.PROVIDERS(rp.name), rp.provider).create(Global.USAGES(rp.name), Usages(rp.used))


def content(forest: Forest) -> dict[str, Any]:
    """All that it says, whatever rows it is said in."""
    columns = {}
    for name in ("VCPU", "MEMORY_MB"):
        column = forest.columns.get(name)
        assert column
        for uuid, node in forest.nodes.items():
            values = (column.capacity, column.used, column.room, column.least, column.step)
            columns[name, uuid] = [int(v[node.row]) for v in values]
    return {
        "providers": {uuid: forest.provider(uuid) for uuid in forest.nodes},
        "usages": {uuid: forest.usages(uuid) for uuid in forest.nodes},
        "allocations": {s.value.consumer: s for s in forest.consumers},
        "on": {uuid: {s.value.consumer for s in forest.consumers.on(uuid)} for uuid in forest.nodes},
        "sums": forest.consumers._sums,
        "roots": {uuid: node.root.uuid for uuid, node in forest.nodes.items()},
        "columns": columns,
        "traits": {
            name: {forest.at(row).uuid for row in forest.mask(forest.with_trait[name]).nonzero()[0]}
            for name in forest.with_trait.names()
        },
    }


async def test_a_question_is_answered_as_of_the_moment_it_is_asked(store: Store) -> None:
    async with watching(store) as view:
        for n in range(20):
            await store.commit(creation(Rp(f"n{n}", {"VCPU": 4})))
            if n % 2:  # other keys move etcd's revision too
                await store.commit(Txn("other").put(Global.LEASES(n), "x"))
            async with asyncio.timeout(30):
                forest = await view.current()
            assert forest.get(f"n{n}") is not None


async def test_many_questions_share_their_reads(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async with watching(store) as view:
        reads = 0
        revision = store.revision

        async def counted() -> int:
            nonlocal reads
            reads += 1
            return await revision()

        monkeypatch.setattr(store, "revision", counted)
        await store.commit(creation(Rp("a", {"VCPU": 4})))
        forests = await asyncio.gather(*(view.current() for _ in range(50)))
        assert all(forest.get("a") for forest in forests)
        assert reads <= 2


async def test_an_own_commit_is_known_before_the_watch_tells(store: Store) -> None:
    async with watching(store) as view:
        txn = creation(Rp("a", {"VCPU": 4}, ["T"]))
        await store.commit(txn)
        view.learn(txn)
        assert view.get(Global.PROVIDERS("a")) == await store.get(Global.PROVIDERS("a"))
        removal = Txn("remove").delete(Global.PROVIDERS("a")).delete(Global.USAGES("a"))
        await store.commit(removal)
        view.learn(removal)
        assert view.get(Global.PROVIDERS("a")) is None
        await view.wait_until(removal.revision)
        assert view.get(Global.PROVIDERS("a")) is None
        assert view.forest.nodes == {}


async def test_without_etcd_a_question_is_refused(fragile_etcd: EtcdServer) -> None:
    etcd = Etcd(StoreSettings(endpoints=(fragile_etcd.endpoint,), timeout=0.5))
    async with watching(Store(etcd, "view/")) as view:
        await view.current()
        fragile_etcd.pause()
        with pytest.raises(StoreUnavailable):
            await view.current()
        fragile_etcd.resume()

        async def answers() -> bool:
            with suppress(StoreUnavailable):
                return await view.current() is view.forest
            return False

        await eventually(answers, 30)
    await etcd.close()


async def test_a_view_built_from_zero_equals_the_one_that_watched_while_claims_ran(store: Store) -> None:
    names = [f"n{n}" for n in range(12)]
    built = asyncio.Event()  # the others were, while claims ran
    async with watching(store) as view:

        async def work(seed: int) -> None:
            rng = random.Random(seed)
            step = 0
            while step < 40 or not built.is_set():
                step += 1
                uuid, consumer = rng.choice(names), f"c{seed}-{rng.randrange(6)}"
                try:
                    txn = change(view, rng, uuid, consumer)
                    if txn.writes:
                        await store.commit(txn)
                        if step % 2:
                            view.learn(txn)
                except CompareFailed:
                    await view.current()

        async with AsyncExitStack() as stack, asyncio.timeout(60):
            working = asyncio.gather(*(work(seed) for seed in range(6)))
            later = [await stack.enter_async_context(watching(store)) for _ in range(3)]
            built.set()
            await working
            later.append(await stack.enter_async_context(watching(store)))
            for other in later:
                assert content(await other.current()) == content(await view.current())
        assert view.forest._deleted == {}
        for uuid, node in view.forest.nodes.items():
            held = [s.value.resources[uuid].get("VCPU", 0) for s in view.forest.consumers.on(uuid)]
            assert sum(held) == node.used.get("VCPU", 0) <= node.inventories["VCPU"].capacity


def change(view: View, rng: random.Random, uuid: str, consumer: str) -> Txn:
    """Creates a provider, changes or removes it, or gives a consumer something of it."""
    provider, usages = view.get(Global.PROVIDERS(uuid)), view.get(Global.USAGES(uuid))
    allocated = view.get(Global.ALLOCATIONS(consumer))
    txn = Txn("work")
    if provider is None or usages is None:
        parent = rng.choice([None, "n0"]) if uuid != "n0" else None
        offers = {"VCPU": rng.randrange(5, 20), "MEMORY_MB": 1000}
        return creation(Rp(uuid, offers, rng.sample(["T1", "T2", "T3"], 2), parent=parent))
    if rng.random() < 0.2:
        if not usages.value.used and uuid != "n0":
            return txn.remove(provider).remove(usages)
        rp = Rp(uuid, dict(provider.value.inventories), rng.sample(["T1", "T2", "T3"], 1), parent=provider.value.parent)
        return txn.replace(provider, rp.provider).replace(usages, with_claim(usages.value, {}))
    if allocated is None:
        if lacking(provider.value.inventories, usages.value.used, {"VCPU": 1}):
            return txn
        txn.unchanged(provider).replace(usages, with_claim(usages.value, {"VCPU": 1}))
        return txn.create(Global.ALLOCATIONS(consumer), allocation(consumer, {uuid: {"VCPU": 1}}))
    for held, amounts in allocated.value.resources.items():
        before = view.get(Global.USAGES(held))
        if before is None:
            return Txn("nothing")
        txn.replace(before, with_claim(before.value, amounts, -1))
    return txn.remove(allocated)
