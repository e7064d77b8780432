"""Every saga as a specification: given a server, its operation and an outcome, what follows."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from attrs import evolve, frozen
from unit_records import NOW, instance, operation, running

from control.conductor.cell.commit import transaction
from control.conductor.sagas.all import SAGAS
from control.conductor.sagas.table import (
    Advance,
    Decision,
    Failed,
    Finish,
    GiveBack,
    Outcome,
    Outdated,
    Overrun,
    Progressed,
    Remove,
    Saga,
    Succeeded,
    decide,
    step_of,
)
from control.servers.history import ACTIONS
from control.servers.states import RULES
from kv.keys import Cell
from kv.txn import Stored
from schemas.guest import Address, PowerState
from schemas.operation import Operation
from schemas.server import Fault, Instance, time_key
from schemas.settings import ConductorSettings
from schemas.shards import shard_of

ADDRESS = Address("private", "fa:16:3e:00:00:01", "10.0.0.1")
FULL = Failed("HostFull", "no space left on device")
DOWN = Failed("HypervisorDown", "host h1 is down", host_down=True)
LATE = Overrun(1, NOW + timedelta(minutes=5), "host h1 did not finish it in time")
SPAWNING = instance(vm_state="building", task_state="spawning", launched=None, power_state=0)


def begun(kind: str) -> tuple[Operation, Instance]:
    """As the API or the top has written them."""
    if kind == "boot":
        return operation("boot", "spawn"), SPAWNING
    if kind == "delete":
        return operation("delete"), instance(task_state="deleting")
    rule = RULES[kind]
    vm_state = "active" if "active" in rule.vm else min(rule.vm)
    return operation(kind), instance(vm_state=vm_state, task_state=rule.task)


# Success


@pytest.mark.parametrize(
    ("kind", "power_state", "vm_state"),
    [
        ("boot", PowerState.RUNNING, "active"),
        ("start", PowerState.RUNNING, "active"),
        ("stop", PowerState.SHUTDOWN, "stopped"),
        ("reboot-soft", PowerState.RUNNING, "active"),
        ("reboot-hard", PowerState.RUNNING, "active"),
        ("pause", PowerState.PAUSED, "paused"),
        ("unpause", PowerState.RUNNING, "active"),
        ("suspend", PowerState.SHUTDOWN, "suspended"),
        ("resume", PowerState.RUNNING, "active"),
    ],
)
def test_success_leaves_the_server_at_rest_as_the_hypervisor_says(kind: str, power_state: int, vm_state: str) -> None:
    op, before = begun(kind)
    before = evolve(before, fault=Fault(500, "earlier", NOW))
    state = running(power_state=power_state, addresses=(ADDRESS,))
    match decide(SAGAS[kind], op, before, Succeeded(state), NOW):
        case Finish(after, None):
            assert (after.vm_state, after.task_state, after.power_state) == (vm_state, None, power_state)
            assert after.addresses == (ADDRESS,)
            assert after.fault is None
            assert after.updated == NOW
            assert after.launched == (NOW if kind == "boot" else before.launched)
        case other:
            raise AssertionError(other)


def test_success_without_news_keeps_what_is_known() -> None:
    op, before = begun("reboot-soft")
    before = evolve(before, addresses=(ADDRESS,))
    for state in (None, running()):
        finish = decide(SAGAS["reboot-soft"], op, before, Succeeded(state), NOW)
        assert isinstance(finish, Finish)
        assert finish.instance.addresses == (ADDRESS,)


def test_a_delete_removes_whatever_happens() -> None:
    op, before = begun("delete")
    for outcome in (Succeeded(None), FULL, DOWN):
        assert decide(SAGAS["delete"], op, before, outcome, NOW) == Remove()


# Failure


@pytest.mark.parametrize("kind", sorted(set(SAGAS) - {"boot", "delete"}))
@pytest.mark.parametrize("failure", [FULL, DOWN])
def test_a_failed_command_reverts_with_a_fault(kind: str, failure: Failed) -> None:
    op, before = begun(kind)
    match decide(SAGAS[kind], op, before, failure, NOW):
        case Finish(after, error):
            assert error == failure.message
            assert (after.vm_state, after.task_state) == (before.vm_state, None)
            assert after.fault == Fault(500, failure.message, NOW, details=failure.error)
        case other:
            raise AssertionError(other)


@pytest.mark.parametrize("failure", [FULL, DOWN])
def test_a_failed_spawn_is_undone_under_a_new_generation(failure: Failed) -> None:
    op, before = begun("boot")
    match decide(SAGAS["boot"], op, before, failure, NOW):
        case Advance(undoing, after):
            assert (undoing.step, undoing.generation) == ("undo", before.generation + 1)
            assert after.generation == undoing.generation
            assert (after.vm_state, after.task_state) == ("building", "spawning")
            assert undoing.fault == Fault(500, failure.message, NOW, details=failure.error)
            assert f"spawn failed on h1: {failure.message}" in undoing.story[-1].text
            assert step_of(SAGAS["boot"], undoing).verb == "destroy"
        case other:
            raise AssertionError(other)


@pytest.mark.parametrize("outcome", [Succeeded(None), DOWN])
def test_what_is_undone_or_runs_nowhere_any_more_is_given_back(outcome: Outcome) -> None:
    op, before = begun("boot")
    fault = Fault(500, "no space", NOW)
    undoing = evolve(op, step="undo", fault=fault, generation=5)
    match decide(SAGAS["boot"], undoing, evolve(before, generation=5), outcome, NOW):
        case GiveBack(returning, after, told):
            assert (returning.step, told, after.generation) == ("returning", fault, 5)
            expected = "taken back" if isinstance(outcome, Succeeded) else "the host is down"
            assert expected in returning.story[-1].text
        case other:
            raise AssertionError(other)


def test_a_build_that_may_still_run_on_its_host_is_not_given_back() -> None:
    """A host whose libvirtd hung over the undo kept its guest, and the server was built a second time elsewhere."""
    op, before = begun("boot")
    undoing = evolve(op, step="undo", tries=1, fault=Fault(500, "Build failed.", NOW, details="no space"))
    for outcome in (Failed("HypervisorDown", "libvirt does not answer"), LATE):
        match decide(SAGAS["boot"], undoing, before, outcome, NOW):
            case Finish(after, error):
                assert (after.vm_state, after.task_state, after.host, error) == ("error", None, "h1", "Build failed.")
                assert after.fault
                assert "no space" in after.fault.details
                assert "could not be taken back on h1" in after.fault.details
            case other:
                raise AssertionError(other)


@pytest.mark.parametrize("kind", SAGAS)
def test_a_host_that_knows_more_than_the_records_gets_a_generation_above_its_own(kind: str) -> None:
    """After a restored backup of etcd an agent refused all commands for a server as stale, without end."""
    op, before = begun(kind)
    match decide(SAGAS[kind], op, before, Outdated(40), NOW):
        case Advance(again, after):
            assert (again.step, again.tries, again.generation, after.generation) == (op.step, op.tries, 41, 41)
            assert "knows generation 40" in again.story[-1].text
        case other:
            raise AssertionError(other)


# Time


@pytest.mark.parametrize("kind", SAGAS)
def test_an_overrun_step_is_tried_once_more_under_a_new_generation_and_then_fails(kind: str) -> None:
    op, before = begun(kind)
    match decide(SAGAS[kind], op, before, LATE, NOW):
        case Advance(again, after):
            assert (again.step, again.tries, again.deadline) == (op.step, 1, LATE.deadline)
            assert again.generation == after.generation == before.generation + 1
            assert "once more" in again.story[-1].text
        case other:
            raise AssertionError(other)
    failure = Failed("BusUnavailable", LATE.message)
    assert decide(SAGAS[kind], again, after, LATE, NOW) == decide(SAGAS[kind], again, after, failure, NOW)


@pytest.mark.parametrize("kind", SAGAS)
def test_a_step_that_came_further_goes_on_as_it_is(kind: str) -> None:
    """The next attempt to say is the one that is at work: the agent adopts it."""
    op, before = begun(kind)
    later = NOW + timedelta(minutes=9)
    match decide(SAGAS[kind], op, before, Progressed(1, later), NOW):
        case Advance(on, after):
            assert (on.step, on.tries, on.deadline, on.generation) == (op.step, 0, later, op.generation)
            assert evolve(after, updated=before.updated) == before
        case other:
            raise AssertionError(other)


# What holds of every saga


@frozen
class End:
    """How a run ended, with the decisions on its way."""

    decisions: tuple[Decision, ...]


def runs(saga: Saga, op: Operation, server: Instance, depth: int = 0) -> Iterator[End]:
    """Every way through the saga: each step succeeds, fails, finds its host down, or its time is up."""
    assert depth < 10, "it does not end"
    for outcome in (Succeeded(running()), Succeeded(None), FULL, DOWN, LATE):
        decision = decide(saga, op, server, outcome, NOW)
        if isinstance(decision, Advance):
            for end in runs(saga, decision.operation, decision.instance, depth + 1):
                yield End((decision, *end.decisions))
        else:
            yield End((decision,))


@pytest.mark.parametrize("kind", SAGAS)
def test_failing_at_each_step_and_undo_it_ends_at_rest_or_given_back(kind: str) -> None:
    op, server = begun(kind)
    for end in runs(SAGAS[kind], op, server):
        match end.decisions[-1]:
            case Finish(after, error):
                assert after.task_state is None
                assert (error is None) == (after.fault is None)
                assert kind != "boot" or after.vm_state in ("active", "error")
            case Remove():
                assert kind == "delete"
            case GiveBack(returning, _, fault):
                assert kind == "boot"
                assert returning.step == "returning"
                assert fault.message
            case other:
                raise AssertionError(f"{other} is no end")


@pytest.mark.parametrize("kind", SAGAS)
def test_the_same_outcome_twice_gives_the_same_decision(kind: str) -> None:
    op, server = begun(kind)
    first = [end.decisions for end in runs(SAGAS[kind], op, server)]
    assert first == [end.decisions for end in runs(SAGAS[kind], op, server)]


@pytest.mark.parametrize("kind", SAGAS)
def test_no_decision_lowers_a_generation_or_forgets_the_story(kind: str) -> None:
    op, server = begun(kind)
    for end in runs(SAGAS[kind], op, server):
        generation, lines = server.generation, len(op.story)
        for decision in end.decisions:
            if isinstance(decision, Advance | GiveBack):
                assert decision.instance.generation >= generation
                assert len(decision.operation.story) > lines
                generation, lines = decision.instance.generation, len(decision.operation.story)


@pytest.mark.parametrize("kind", SAGAS)
def test_every_end_is_one_transaction_that_compares_operation_and_server(kind: str) -> None:
    op, server = begun(kind)
    shard = shard_of(op.server)
    stored_op = Stored(Cell.OPERATIONS(shard, op.server), op, 11, 10)
    key = Cell.INSTANCES(op.project, time_key(op.created_us, op.server))
    for end in runs(SAGAS[kind], op, server):
        for decision in end.decisions:
            txn = transaction(decision, stored_op, Stored(key, server, 12, 9), NOW)
            assert txn.revisions == {stored_op.key.path: 11, key.path: 12}
            assert {stored_op.key.path, key.path} <= set(txn.writes)


@pytest.mark.parametrize("kind", SAGAS)
def test_every_saga_is_in_every_table(kind: str) -> None:
    saga = SAGAS[kind]
    assert saga.kind == kind
    assert kind in ACTIONS
    assert kind in RULES or kind in ("boot", "delete")
    settings = ConductorSettings()
    for step in filter(None, (saga.step, saga.undo)):
        assert 0 < step.timeout(settings) <= timedelta(hours=1).total_seconds()
        assert dict(step.options(operation(kind), settings)) is not None


def test_only_a_stop_and_a_soft_reboot_wait_for_the_guest() -> None:
    settings = ConductorSettings(stop_timeout=42.0)
    waits = {k: dict(s.step.options(operation(k), settings)).get("timeout", 0) for k, s in SAGAS.items()}
    assert {kind for kind, seconds in waits.items() if seconds} == {"stop", "reboot-soft"}
    for kind in ("stop", "reboot-soft"):
        assert waits[kind] == 42.0
        assert SAGAS[kind].step.timeout(settings) > 42.0
