"""A site of which one etcd was restored from a backup: its stores agree again, and agents accept its commands."""

from collections.abc import AsyncIterator

import pytest
from aetcd import rpc
from attrs import evolve
from top_rig import TINY, Rig, open_rig
from typer.testing import CliRunner
from unit_records import NOW

from agents.decide import Begin, Memory, Refuse, decide
from control.manage.restored import GLOBAL, STEP, reconcile_restored
from control.servers.find import instance_key
from kilonova.cli import app
from kv.keys import Cell, Global
from kv.store import Store
from kv.txn import Stored, Txn
from schemas.guest import GuestMark
from schemas.messages import Command
from schemas.placement import Allocation, Inventory, Provider, Usages
from schemas.server import Instance
from schemas.shards import shard_of


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with open_rig() as rig:
        inventory = {"VCPU": Inventory(8), "MEMORY_MB": Inventory(8192), "DISK_GB": Inventory(100)}
        await rig.top.store.commit(
            Txn("host")
            .create(Global.PROVIDERS("rp1"), Provider("rp1", "node1", inventory, host="h1", cell="cell1"))
            .create(Global.USAGES("rp1"), Usages())
        )
        yield rig


async def running(rig: Rig) -> Stored[Instance]:
    """A server that rests on h1 and holds its claim."""
    server = await rig.create()
    await rig.choose(server)
    await rig.step(server)
    store = rig.top.cells.store("cell1")
    there = await rig.instance(server)
    boot = await store.get(Cell.OPERATIONS(shard_of(server), server))
    assert there is not None
    assert boot is not None
    rests = evolve(there.value, vm_state="active", task_state=None)
    await store.commit(Txn("booted").replace(there, rests).remove(boot))
    usages = await rig.top.store.get(Global.USAGES("rp1"))
    assert usages is not None
    resources = {"rp1": {"VCPU": TINY.vcpus}}
    more = {"VCPU": usages.value.used.get("VCPU", 0) + TINY.vcpus}
    claim = Allocation(server, "p1", "u1", resources, NOW)
    await rig.top.store.commit(Txn("hold").create(Global.ALLOCATIONS(server), claim).replace(usages, Usages(more)))
    found = await rig.instance(server)
    assert found is not None
    return found


async def backup(store: Store) -> dict[str, bytes]:
    """Path -> bytes of everything in it."""
    start = store.prefix.encode()
    answer = await store.etcd.range(rpc.RangeRequest(key=start, range_end=start[:-1] + bytes([start[-1] + 1])))
    return {kv.key.decode(): kv.value for kv in answer.kvs}


async def restore(store: Store, kept: dict[str, bytes]) -> None:
    await store.clear()
    for key, value in kept.items():
        put = rpc.RequestOp(request_put=rpc.PutRequest(key=key.encode(), value=value))
        await store.etcd.txn(rpc.TxnRequest(success=[put]), writes=True)


def commanded(generation: int, seen: int) -> object:
    """What an agent that has seen this generation decides about a command of that one."""
    mark = GuestMark("site", "server", "p1", generation, "op/req")
    return decide(Memory(generation=seen), Command("power_off", "session", mark, "command"), "session", "serving")


async def test_agents_accept_commands_of_a_restored_cell(rig: Rig) -> None:
    """They had seen generations that the backup did not know, and refused every command for an hour."""
    server = await running(rig)
    cell = rig.top.cells.store("cell1")
    kept = await backup(cell)
    seen = server.value.generation + 5
    await cell.commit(Txn("commands").put(server.key, evolve(server.value, generation=seen)))
    await restore(cell, kept)
    assert isinstance(commanded(server.value.generation + 1, seen), Refuse)
    await reconcile_restored(rig.top, ["cell1"])
    there = await rig.instance(server.value.uuid)
    assert there is not None
    assert there.value.generation == server.value.generation + STEP
    assert isinstance(commanded(there.value.generation + 1, seen), Begin)


async def test_super_conductors_write_into_cells_after_the_global_store_was_restored(rig: Rig) -> None:
    """The fences in the cells were of leases that were granted later than any that a restored store grants: every
    write of the top was refused as a predecessor's."""
    cell = rig.top.cells.store("cell1")
    await cell.commit(Txn("fence").put(Cell.FENCES(3), str(10**9)))
    await reconcile_restored(rig.top, [GLOBAL])
    assert await cell.get(Cell.FENCES(3)) is None


async def test_what_happened_since_the_backup_of_the_global_store_is_known_again(rig: Rig) -> None:
    before, during = await running(rig), await rig.create()
    kept = await backup(rig.top.store)
    since = await running(rig)
    await rig.choose(during)
    await rig.step(during)
    await rig.top.cells.store("cell1").commit(Txn("deleted").remove(before))
    await restore(rig.top.store, kept)
    done = await reconcile_restored(rig.top, [GLOBAL])
    assert done["servers that were deleted since, forgotten"] == 1
    assert done["servers that were made since, mapped again"] == 2
    assert await rig.top.store.get(Global.INSTANCES(before.value.uuid)) is None
    for server in (since.value.uuid, during):
        mapping = await rig.top.store.get(Global.INSTANCES(server))
        assert mapping is not None
        assert mapping.value.cell == "cell1"
    assert await rig.top.store.get(Global.OPERATIONS(shard_of(during), during)) is None
    usage = await rig.top.store.get(Global.QUOTA_USAGE("p1"))
    assert usage is not None
    assert usage.value.instances == 2
    usages = await rig.top.store.get(Global.USAGES("rp1"))
    assert usages is not None
    assert usages.value.used == {}, "the claims of running servers are healed by the upkeep"
    again = await reconcile_restored(rig.top, [GLOBAL])
    assert not any(count for what, count in again.items() if what.startswith("servers"))


async def test_what_happened_since_the_backup_of_a_cell_is_known_again(rig: Rig) -> None:
    """A guest without a record would be removed by its host's agent."""
    before = await running(rig)
    cell = rig.top.cells.store("cell1")
    kept = await backup(cell)
    since = await running(rig)
    mapping = await rig.top.store.get(Global.INSTANCES(before.value.uuid))
    assert mapping is not None
    await rig.top.store.commit(Txn("forgotten").remove(mapping))
    await restore(cell, kept)
    done = await reconcile_restored(rig.top, ["cell1"])
    assert done["servers that were deleted since, removed from their cell"] == 1
    assert done["servers that were made since, recorded again without their names"] == 1
    assert await cell.get(instance_key(before.value)) is None
    there = await cell.get(instance_key(since.value))
    assert there is not None
    assert (there.value.host, there.value.vm_state, there.value.task_state) == ("h1", "active", None)
    assert there.value.generation > since.value.generation
    assert await cell.paths(Cell.BY_HOST.under("h1", "")) == [Cell.BY_HOST("h1", since.value.uuid).path]


def test_the_command_wants_a_store() -> None:
    assert CliRunner().invoke(app, ["etcd", "restored"]).exit_code == 2
