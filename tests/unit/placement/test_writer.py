"""The writer: what it believes, what it proves before it refuses, and what several of them leave behind."""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
from attrs import define, field
from unit_placement import THEN

from control.placement.reading import Reading
from control.placement.writer import Writer
from control.placement.writes import allocations, belonging, inventories, names, providers
from control.placement.writes.allocations import Claim
from kv.keys import Global, Key
from kv.store import Store
from kv.twin.client import Twin
from kv.twin.cluster import Cluster
from kv.txn import Stored, Txn
from schemas.errors import ConcurrentUpdate, Conflict, KilonovaError, NotFound
from schemas.placement import Inventory, Provider


@define(eq=False)
class Lagging:
    """A view that hears of others' writes only when it is told to."""

    store: Store
    records: dict[str, Stored[Any]] = field(factory=dict)

    def get(self, key: Key[Any], *, whole: bool = True) -> Stored[Any] | None:
        if key.path.startswith("groups/"):
            raise KeyError(key.path)
        return self.records.get(key.path)

    def learn(self, txn: Txn) -> None:
        for write in txn.writes.values():
            if write.data is None:
                self.records.pop(write.path, None)
            else:
                key: Key[Any] = Key(write.path, type(write.value))
                self.records[write.path] = Stored(key, write.value, txn.revision, txn.revision)

    async def wait_until(self, revision: int) -> None:
        await self.catch_up()

    async def catch_up(self) -> None:
        self.records.clear()
        for family in FAMILIES:
            for stored in await self.store.range(family.under()):
                self.records[stored.key.path] = stored


FAMILIES = (
    Global.PROVIDERS,
    Global.USAGES,
    Global.ALLOCATIONS,
    Global.PROVIDER_NAMES,
    Global.PROVIDER_CHILDREN,
    Global.TRAITS,
    Global.ERASURES,
)


@pytest.fixture
def store() -> Store:
    return Store(Twin(Cluster()), "test/")


def made(uuid: str, parent: str | None = None, vcpus: int = 8) -> Provider:
    return Provider(uuid, f"name of {uuid}", {"VCPU": Inventory(vcpus)}, parent=parent, updated=THEN)


def creating(provider: Provider) -> Any:
    return lambda reading: (providers.create(reading, provider), None)


def claiming(consumer: str, **vcpus: int) -> Any:
    claim = Claim(consumer, {uuid: {"VCPU": amount} for uuid, amount in vcpus.items()})
    return lambda reading: (allocations.replace(reading, [claim], THEN), None)


async def test_a_view_that_knows_nothing_refuses_nothing(store: Store) -> None:
    """What it lacks may have been made by another process a moment ago."""
    await Writer(store, Lagging(store)).write(creating(made("a")))
    behind = Writer(store, Lagging(store))
    await behind.write(claiming("c", a=8), ["a"])
    with pytest.raises(Conflict):
        await behind.write(claiming("d", a=1), ["a"])
    with pytest.raises(NotFound):
        await behind.write(lambda reading: (providers.delete(reading, "b"), None))


async def test_a_view_that_is_right_is_not_checked(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(store, Lagging(store))
    await writer.write(creating(made("a")))

    async def refuse(_: object) -> list[Any]:
        raise AssertionError("read")

    monkeypatch.setattr(store, "read_all", refuse)
    await writer.write(claiming("c", a=1), ["a"])


async def test_those_who_wait_for_one_provider_are_committed_together(store: Store) -> None:
    writer, commits = Writer(store, Lagging(store)), 0
    await writer.write(creating(made("a", vcpus=40)))
    commit = store.commit

    async def counted(txn: Txn) -> int:
        nonlocal commits
        commits += 1
        return await commit(txn)

    store.commit = counted  # type: ignore[method-assign]
    found = await asyncio.gather(
        *(writer.write(claiming(f"c{n}", a=1), ["a"]) for n in range(50)), return_exceptions=True
    )
    assert Counter(type(f) for f in found) == {type(None): 40, Conflict: 10}
    assert commits < 15
    usages = await store.get(Global.USAGES("a"))
    assert usages
    assert (usages.value.used, usages.value.generation) == ({"VCPU": 40}, 40)


async def test_who_is_overtaken_again_and_again_is_told_so(store: Store) -> None:
    writer = Writer(store, retries=3)
    await writer.write(creating(made("a")))
    decided = 0

    def outpaced(reading: Reading) -> tuple[Txn, None]:
        nonlocal decided
        decided += 1
        found = providers.find(reading, "a")
        return Txn("late").at(Global.USAGES("a"), found.usages.mod_revision - 1).put(Global.LEASES(1), "x"), None

    with pytest.raises(ConcurrentUpdate):
        await writer.write(outpaced)
    assert decided == 2 + 4  # two keys were read first


@define(eq=False)
class _Process:
    """One of several that write at random, mostly on an old view."""

    store: Store
    dice: random.Random
    known: Lagging
    writer: Writer

    async def step(self) -> None:
        if self.dice.random() < 0.3:
            await self.known.catch_up()
        a, b, c = (self.dice.choice("abcdef") for _ in range(3))
        what = self.dice.choice(self.deeds())
        with suppress(KilonovaError):  # refused
            await what(a, b, f"consumer {c}")

    def deeds(self) -> list[Any]:
        return [self.create, self.delete, self.move, self.claim, self.claim, self.release, self.offer, self.traits]

    async def create(self, a: str, b: str, _: str) -> None:
        await self.writer.write(creating(made(a, b if self.dice.random() < 0.5 else None)))

    async def delete(self, a: str, _: str, __: str) -> None:
        await self.writer.write(lambda reading: (providers.delete(reading, a), None), [a])

    async def move(self, a: str, b: str, _: str) -> None:
        await self.writer.write(
            lambda reading: (providers.rename(reading, a, f"name of {a}", b, THEN, freely=True), None), [a]
        )

    async def claim(self, a: str, b: str, consumer: str) -> None:
        amounts = {a: self.dice.randint(1, 4), b: self.dice.randint(1, 4)}
        await self.writer.write(claiming(consumer, **amounts), [a, b])

    async def release(self, _: str, __: str, consumer: str) -> None:
        await self.writer.write(lambda reading: (allocations.release(reading, consumer, THEN), None))

    async def offer(self, a: str, _: str, __: str) -> None:
        offered = {"VCPU": Inventory(self.dice.randint(4, 12))} if self.dice.random() < 0.8 else {}
        await self.writer.write(
            lambda reading: inventories.replace(reading, a, None, offered, THEN, reserve_all=True), [a]
        )

    async def traits(self, a: str, _: str, __: str) -> None:
        if self.dice.random() < 0.5:
            await self.writer.write(lambda reading: names.create(reading, names.TRAITS, "CUSTOM_T", THEN))
        wanted = {"CUSTOM_T"} if self.dice.random() < 0.5 else set()
        await self.writer.write(lambda reading: belonging.set_traits(reading, a, None, wanted, THEN), [a])


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_processes_write_the_records_agree(seed: int) -> None:
    """Usages are the sums of allocations and exceed no capacity that held when they were claimed, trees have no loops,
    names and children belong to providers that there are."""
    cluster, processes = Cluster(), []
    for n in range(3):
        store = Store(Twin(cluster), "test/")
        known = Lagging(store)
        processes.append(_Process(store, random.Random(f"{seed} {n}"), known, Writer(store, known)))

    async def run(process: _Process) -> None:
        for _ in range(60):
            await process.step()

    await asyncio.gather(*(run(p) for p in processes for _ in range(2)))
    known = processes[0].known
    await known.catch_up()
    _check(known.records)


def _check(records: dict[str, Stored[Any]]) -> None:
    def of(family: str) -> dict[str, Any]:
        stem = f"placement/{family}/"
        return {path.removeprefix(stem): s.value for path, s in records.items() if path.startswith(stem)}

    held, used = of("allocations"), of("usages")
    there = of("providers")
    sums = {uuid: Counter[str]() for uuid in there}
    for allocation in held.values():
        for uuid, amounts in allocation.resources.items():
            sums[uuid].update(amounts)
    assert {uuid: dict(total) for uuid, total in sums.items()} == {uuid: u.used for uuid, u in used.items()}
    children: dict[str, set[str]] = {}
    for uuid, provider in there.items():
        assert set(used[uuid].used) <= set(provider.inventories)
        seen, above = {uuid}, provider.parent
        if above is not None:
            children.setdefault(above, set()).add(uuid)
        while above is not None:
            assert above not in seen, "a loop"
            assert above in there, "no such parent"
            seen.add(above)
            above = there[above].parent
    assert {parent: set(c.uuids) for parent, c in of("children").items()} == children
    assert {name: n.id for name, n in of("names").items()} == {p.name: uuid for uuid, p in there.items()}
