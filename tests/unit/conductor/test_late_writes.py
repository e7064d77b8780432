"""What an owner or an observer may still write late, after another has taken over or begun, changes nothing."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from attrs import evolve
from substrate import eventually
from top_rig import before_commit, open_rig
from unit_records import NOW, UUID, instance, operation

from bus.client import Bus
from control.conductor.cell.hosts import Hosts
from control.conductor.cell.initiative import begun, noted
from control.conductor.cell.reconcile import Observed
from control.conductor.cell.runner import Runner
from kv.keys import Cell, Global, Key
from kv.shards import Shards
from kv.store import Store
from kv.twin.client import Twin
from kv.twin.cluster import Cluster
from kv.txn import Stored, Txn
from schemas.errors import CompareFailed
from schemas.guest import PowerState
from schemas.operation import Outbox
from schemas.placement import Allocation, Usages
from schemas.server import time_key
from schemas.settings import Settings
from schemas.shards import shard_of

SHARD = shard_of(UUID)
SERVER = Cell.INSTANCES("p1", time_key(instance().created_us, UUID))
OPERATION = Cell.OPERATIONS(SHARD, UUID)


async def found(store: Store, key: Key[Any]) -> Stored[Any]:
    stored = await store.get(key)
    assert stored is not None
    return stored


def runner(store: Store, pod: str, lease: Stored[str]) -> Runner:
    """Of a conductor that owns the shard by this lease key."""
    fences = {SHARD: lease}
    shards = SimpleNamespace(pod=pod, fences=fences, guard=lambda txn, shard: txn.unchanged(fences[shard]))
    return Runner(store, cast(Bus, None), cast(Shards, shards), cast(Hosts, None), Settings())


async def own(store: Store, pod: str) -> Stored[str]:
    """A new lease key of the shard, as after the end of an earlier one."""
    key = Cell.LEASES(SHARD)
    if (held := await store.get(key)) is not None:
        await store.commit(Txn("end").remove(held))
    await store.commit(Txn("own").create(key, pod))
    return await found(store, key)


async def test_an_operation_that_is_taken_over_gets_a_new_generation_once() -> None:
    """An agent refuses a command of an older generation than the last that it took. An inherited operation that kept
    its generation was carried out twice: by the command of its new owner, and by one that its former owner had sent
    before the takeover and that arrived late."""
    store = Store(Twin(Cluster()), "c/")
    await store.commit(Txn("given").create(SERVER, instance()))
    first = await own(store, "first")
    await store.commit(Txn("given").create(OPERATION, operation("start")))
    begun_here = runner(store, "first", first)
    kept, _ = await begun_here._take_over(SHARD, await found(store, OPERATION), await found(store, SERVER))
    assert kept.value.generation == 4, "what was begun under the lease has no earlier owner"

    second = runner(store, "second", await own(store, "second"))
    for _ in range(2):  # a step later it is its own
        await second._take_over(SHARD, await found(store, OPERATION), await found(store, SERVER))
        raised, server = await found(store, OPERATION), await found(store, SERVER)
        assert (raised.value.generation, server.value.generation) == (5, 5)
    assert "second" in raised.value.story[-1].text

    third = runner(store, "third", await own(store, "third"))
    again, _ = await third._take_over(SHARD, raised, server)
    assert again.value.generation == 6


async def test_what_an_observer_notes_is_not_written_beside_an_operation() -> None:
    """The observer saw a guest that had stopped and a server at rest; an operation that begins meanwhile decides what
    the server becomes. Every transaction of this release that creates an operation also rewrites the server, which is
    compared; the note compares the operation's absence too, so that it does not depend on that."""
    store = Store(Twin(Cluster()), "c/")
    await store.commit(Txn("given").create(SERVER, instance()))
    seen = await found(store, SERVER)
    stopped = instance(vm_state="stopped", power_state=PowerState.SHUTDOWN)
    note = noted(seen, Observed(stopped, "the guest stopped"), "req-2", NOW, 60.0)
    start = begun(seen, "stop", "the guest stopped", "req-3", NOW, 60.0)
    await store.commit(Txn("given").create(OPERATION, operation("reboot-hard")))
    for late in (note, start):
        with pytest.raises(CompareFailed):
            await store.commit(late)
    assert (await found(store, SERVER)).value == instance()
    assert (await found(store, OPERATION)).value == operation("reboot-hard")


async def test_a_delete_noted_in_the_cell_of_a_failed_build_is_not_lost() -> None:
    """The cell's operation is the only record of a delete that came while the build was given back: it is copied to the
    top before what the attempt left in the cell is removed. Else a deleted server was built again elsewhere."""
    async with open_rig() as rig:
        server = await rig.create()
        await rig.choose(server)
        await rig.step(server)
        await rig.give_back(server)
        await rig.step(server)  # taken back
        cell, key = rig.top.cells.store("cell1"), Cell.OPERATIONS(shard_of(server), server)
        assert (await rig.operation(server)).value.step == "clear"
        returning = await found(cell, key)
        await cell.commit(Txn("given cancel").replace(returning, evolve(returning.value, cancel=True)))
        await rig.step(server)
        assert (await rig.operation(server)).value.cancel


async def test_a_cancelled_build_that_is_in_its_cell_already_is_deleted_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server was written into the cell, and cancelled before it was handed over. Removed at the top alone, it would
    be built in the cell as a server that the top does not know, without a claim."""
    async with open_rig() as rig:
        server = await rig.create()
        await rig.choose(server)
        before_commit(monkeypatch, "hand over", lambda: rig.change_operation(server, cancel=True))
        await rig.step(server)
        assert await rig.instance(server) is not None, "the mapping is there as long as the server is in a cell"
        while await rig.top.store.get(Global.OPERATIONS(shard_of(server), server)) is not None:
            await rig.step(server)
        deleting = await found(rig.top.cells.store("cell1"), Cell.OPERATIONS(shard_of(server), server))
        assert deleting.value.kind == "delete"


async def test_what_a_cell_says_of_an_earlier_attempt_forgets_no_later_one() -> None:
    """A record of the outbox that is applied again, after the server was built in that cell a second time."""
    async with open_rig() as rig:
        server = await rig.create()
        await rig.choose(server)
        await rig.step(server)
        mapping = await found(rig.top.store, Global.INSTANCES(server))
        await rig.top.store.commit(Txn("given").replace(mapping, evolve(mapping.value, attempt=2)))
        late = Outbox(server, "deleted", "p1", 1, 1, 1, "h1", NOW)
        await rig.top.cells.store("cell1").commit(Txn("given").create(Cell.OUTBOX(server, 1), late))
        await eventually(lambda: rig.outboxes.has_news_of(server))
        await rig.outboxes.look(shard_of(server), server)
        assert (await found(rig.top.store, Global.INSTANCES(server))).value.attempt == 2


async def test_the_claim_of_a_build_that_is_taken_back_is_freed() -> None:
    """Kept, it held its place on the host that failed, and the next attempt could not claim another one."""
    async with open_rig() as rig:
        server = await rig.create()
        claim = Allocation(server, "p1", "u1", {"rp": {"VCPU": 1}}, NOW)
        given = Txn("given claim").create(Global.ALLOCATIONS(server), claim)
        await rig.top.store.commit(given.create(Global.USAGES("rp"), Usages({"VCPU": 1})))
        await rig.choose(server)
        await rig.step(server)
        await rig.give_back(server)
        await rig.step(server)
        assert (await rig.operation(server)).value.step == "clear"
        assert await rig.top.store.get(Global.ALLOCATIONS(server)) is None
        assert (await found(rig.top.store, Global.USAGES("rp"))).value.used.get("VCPU", 0) == 0
