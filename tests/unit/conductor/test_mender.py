"""A server that says an operation is at work on it when there is none comes to rest, in the second look."""

import pytest
from attrs import evolve
from unit_records import NOW, UUID, instance, operation

from control.conductor.cell.mender import Mender, at_rest
from kv.keys import Cell
from kv.store import Store
from kv.twin.client import Twin
from kv.twin.cluster import Cluster
from kv.txn import Txn
from schemas.server import time_key
from schemas.shards import SHARDS, shard_of

SERVER = instance(task_state="rebooting")
KEY = Cell.INSTANCES(SERVER.project, time_key(1, UUID))
OPERATION = Cell.OPERATIONS(shard_of(UUID), UUID)


@pytest.fixture
def store() -> Store:
    return Store(Twin(Cluster()), "c1/")


def mender(store: Store, owned: range = range(SHARDS)) -> Mender:
    return Mender(store, owned, lambda _, txn: store.commit(txn))


async def test_a_server_without_its_operation_comes_to_rest_when_it_is_seen_twice(store: Store) -> None:
    """Its operation had been dropped: an hour later, and for ever, it was still building, and refused every action."""
    await store.commit(Txn("put").put(KEY, SERVER))
    looking = mender(store)
    assert await looking.mend() == 0
    assert await looking.mend() == 1
    found = await store.get(KEY)
    assert found
    assert (found.value.vm_state, found.value.task_state) == ("active", None)
    assert found.value.fault
    assert "rebooting" in found.value.fault.message
    assert await looking.mend() == 0


async def test_what_changes_is_at_work_and_what_has_an_operation_is_left_alone(store: Store) -> None:
    await store.commit(Txn("put").put(KEY, SERVER))
    looking = mender(store)
    assert await looking.mend() == 0
    await store.commit(Txn("put").put(KEY, evolve(SERVER, name="another")))
    assert await looking.mend() == 0
    await store.commit(Txn("put").put(OPERATION, operation("reboot-hard")))
    assert await looking.mend() == 0


async def test_other_owners_servers_are_theirs(store: Store) -> None:
    await store.commit(Txn("put").put(KEY, SERVER))
    looking = mender(store, range(0))
    assert [await looking.mend() for _ in range(3)] == [0, 0, 0]


def test_what_was_being_built_is_in_error() -> None:
    assert at_rest(instance(vm_state="building", task_state="spawning"), NOW).vm_state == "error"
