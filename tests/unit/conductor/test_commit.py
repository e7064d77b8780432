"""A saga's decision as the one transaction that carries it out."""

import orjson
from attrs import evolve
from unit_records import NOW, UUID, instance, operation

from control.conductor.cell.commit import finished_action, transaction
from control.conductor.sagas.table import Advance, Decision, Finish, GiveBack, Remove
from kv.keys import Cell
from kv.txn import Stored, Txn
from schemas.codec import loads
from schemas.operation import Action, Deleted, Line, Operation, Outbox
from schemas.server import Fault, Instance, time_key
from schemas.shards import shard_of

OP = Cell.OPERATIONS(shard_of(UUID), UUID)
SERVER = Cell.INSTANCES("p1", time_key(instance().created_us, UUID))


def committed(decision: Decision, op: Operation, server: Instance) -> Txn:
    return transaction(decision, Stored(OP, op, 11, 10), Stored(SERVER, server, 12, 9), NOW)


def value(txn: Txn, cls: type, path: str) -> object:
    data = txn.writes[path].data
    assert data is not None
    return loads(cls, data)


def deleted(txn: Txn) -> set[str]:
    return {path for path, write in txn.writes.items() if write.data is None}


def test_a_step_rewrites_both_records() -> None:
    op, server = operation("boot", "undo"), instance(generation=5)
    txn = committed(Advance(op, server), operation("boot", "spawn"), instance())
    assert set(txn.writes) == {OP.path, SERVER.path}
    assert value(txn, Operation, OP.path) == op
    assert value(txn, Instance, SERVER.path) == server


def test_a_finish_ends_the_operation_and_leaves_its_history() -> None:
    op, server = operation("stop"), instance(vm_state="stopped")
    txn = committed(Finish(server), op, instance())
    action = Cell.ACTIONS(UUID, "req-1").path
    assert set(txn.writes) == {OP.path, SERVER.path, action}
    assert deleted(txn) == {OP.path}
    assert value(txn, Instance, SERVER.path) == server
    assert value(txn, Action, action) == finished_action(op, server, None, NOW)


def test_the_history_of_success_and_failure() -> None:
    op = operation("reboot-soft", story=(Line(NOW, "reboot accepted"),))
    good = finished_action(op, instance(), None, NOW)
    assert (good.action, good.message, good.request_id, good.started) == ("reboot", None, "req-1", op.started)
    (event,) = good.events
    assert (event.event, event.result, event.host) == ("compute_reboot_instance", "Success", "h1")
    assert (event.started, event.finished, event.details) == (op.started, NOW, None)
    assert [line.text for line in good.story] == ["reboot accepted", "done on h1"]
    bad = finished_action(op, instance(), "it broke", NOW)
    assert (bad.message, bad.events[0].result, bad.events[0].details) == ("Error", "Error", "it broke")
    assert bad.story[-1].text == "failed: it broke"


def test_a_removal_leaves_only_history_and_tells_the_top() -> None:
    server = instance(task_state="deleting", has_user_data=True)
    txn = committed(Remove(), operation("delete"), server)
    gone = {OP.path, SERVER.path, Cell.BY_HOST("h1", UUID).path, Cell.USER_DATA(UUID).path}
    outbox, kept = Cell.OUTBOX(UUID, 2).path, Cell.DELETED("2030-01-02", UUID).path
    assert deleted(txn) == gone
    of = Cell.DELETED_OF("2030-01-02", server.project, UUID).path
    assert set(txn.writes) == gone | {outbox, kept, of, Cell.ACTIONS(UUID, "req-1").path}
    told = value(txn, Outbox, outbox)
    assert isinstance(told, Outbox)
    assert (told.kind, told.attempt, told.generation, told.host) == ("deleted", 2, 4, "h1")
    record = value(txn, Deleted, kept)
    assert isinstance(record, Deleted)
    last = loads(Instance, orjson.dumps(record.instance))
    assert (last.vm_state, last.task_state, last.terminated) == ("deleted", None, NOW)


def test_a_removal_of_a_server_without_a_host_or_user_data() -> None:
    txn = committed(Remove(), operation("delete", host=None), instance(host=None))
    assert deleted(txn) == {OP.path, SERVER.path}


def test_giving_back_keeps_the_records_and_tells_the_top() -> None:
    op, server, fault = operation("boot", "returning"), instance(generation=5), Fault(500, "full", NOW)
    txn = committed(GiveBack(op, server, fault), operation("boot", "undo"), instance())
    outbox = Cell.OUTBOX(UUID, 2).path
    line = Cell.BY_HOST("h1", UUID).path
    assert set(txn.writes) == {OP.path, SERVER.path, outbox, line}
    assert deleted(txn) == {line}  # what the host has of it is a stray from now on
    told = value(txn, Outbox, outbox)
    assert isinstance(told, Outbox)
    assert (told.kind, told.fault, told.host, told.generation) == ("build-failed", fault, "h1", 5)
    assert value(txn, Instance, SERVER.path) == evolve(server, updated=NOW)
