"""What a saga is, and the pure decision that brings an operation on: (operation, server, outcome) -> decision."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from attrs import evolve, frozen

from schemas.guest import GuestState
from schemas.messages import Verb
from schemas.operation import Line, Operation
from schemas.server import Fault, Instance
from schemas.settings import ConductorSettings


@frozen
class Succeeded:
    """The agent reported the step done."""

    state: GuestState | None


@frozen
class Failed:
    """The step cannot be done. `error` names a class of the error tree. `host_down`: nobody is there to ask, and what
    was not acknowledged does not run there; the transaction that follows compares that the host has no lease."""

    error: str
    message: str
    host_down: bool = False


@frozen
class Progressed:
    """Time is up, and the host is still at it and has come further: it has until `deadline`."""

    attempt: int
    deadline: datetime


@frozen
class Overrun:
    """Time is up without a word. Said once more, after a pause, it would have until `deadline`."""

    attempt: int
    deadline: datetime
    message: str


@frozen
class Outdated:
    """The host knows `generation`, which the records do not: they are older than it, as after a restored backup."""

    generation: int


Outcome = Succeeded | Failed | Progressed | Overrun | Outdated


@frozen
class Step:
    """A command to the server's host. `timeout` picks its seconds from the settings; `options` are the verb's."""

    name: str
    verb: Verb
    timeout: Callable[[ConductorSettings], float]
    options: Callable[[Operation, ConductorSettings], Mapping[str, Any]] = lambda _, __: {}
    with_spec: bool = False
    skip_dead_host: bool = False
    """When the host is down the step counts as done: the host cleans up on its return."""
    persistent: bool = False
    """Whatever the host says, it is asked again until its time is up."""
    granted: bool = False
    """The host does it only while it is granted time, and stops by itself what was not acknowledged: when it falls
    silent the step has failed as soon as its lease and a margin have passed. Any other step that the host has accepted
    has its whole time, since it may have been carried out."""


@frozen
class Advance:
    """Rewrite the operation (and the server) and go on."""

    operation: Operation
    instance: Instance


@frozen
class Finish:
    """The end: the server is as `instance` says. `error` is what the action's event shows, None for success."""

    instance: Instance
    error: str | None = None


@frozen
class Remove:
    """The end of a delete: the server's records go, the top is told."""


@frozen
class GiveBack:
    """A failed build: the operation waits as `returning`, the top is told and chooses again."""

    operation: Operation
    instance: Instance
    fault: Fault


Decision = Advance | Finish | Remove | GiveBack


@frozen
class Saga:
    """`undo` follows a failed step where it is given. `done` and `failed` decide at the end."""

    kind: str
    step: Step
    done: Callable[[Operation, Instance, Succeeded, datetime], Decision]
    failed: Callable[[Operation, Instance, Failed, datetime], Decision]
    undo: Step | None = None


def step_of(saga: Saga, operation: Operation) -> Step:
    return saga.undo if operation.step == "undo" and saga.undo else saga.step


def decide(saga: Saga, operation: Operation, instance: Instance, outcome: Outcome, now: datetime) -> Decision:
    """What follows from a step's outcome."""
    if isinstance(outcome, Progressed):
        line = Line(now, f"{operation.step} goes on, until {outcome.deadline.isoformat(timespec='seconds')}")
        # The attempt that is at work stays the next one to say, so that the agent adopts its job.
        after = evolve(operation, tries=outcome.attempt - 1, deadline=outcome.deadline)
        return Advance(evolve(after, story=(*operation.story, line)), evolve(instance, updated=now))
    if isinstance(outcome, Outdated):
        return _above(operation, instance, outcome.generation, now)
    if isinstance(outcome, Overrun):
        if not operation.tries:
            return _once_more(operation, instance, outcome, now)
        outcome = Failed("BusUnavailable", outcome.message)
    if operation.step == "undo":
        return _after_undo(operation, instance, outcome, now)
    if isinstance(outcome, Failed) and outcome.host_down and saga.step.skip_dead_host:
        outcome = Succeeded(None)
        operation = evolve(operation, story=(*operation.story, Line(now, "host is down: it cleans up on its return")))
    if isinstance(outcome, Succeeded):
        return saga.done(operation, instance, outcome, now)
    if saga.undo is not None:
        return _begin_undo(operation, instance, outcome, now)
    return saga.failed(operation, instance, outcome, now)


def _once_more(operation: Operation, instance: Instance, overrun: Overrun, now: datetime) -> Decision:
    """The same step under the next attempt and a new generation: the agent ends the job that hangs."""
    generation = instance.generation + 1
    line = Line(now, f"{overrun.message}: once more")
    after = evolve(
        operation,
        tries=overrun.attempt,
        deadline=overrun.deadline,
        generation=generation,
        story=(*operation.story, line),
    )
    return Advance(after, evolve(instance, generation=generation, updated=now))


def _above(operation: Operation, instance: Instance, known: int, now: datetime) -> Decision:
    """The same step under a generation that the host takes for new."""
    generation = max(known, instance.generation) + 1
    line = Line(now, f"{operation.host} knows generation {known} of the server: goes on with {generation}")
    after = evolve(operation, generation=generation, story=(*operation.story, line))
    return Advance(after, evolve(instance, generation=generation, updated=now))


def _begin_undo(operation: Operation, instance: Instance, failure: Failed, now: datetime) -> Decision:
    generation = instance.generation + 1
    line = Line(now, f"{operation.step} failed on {operation.host}: {failure.message}")
    return Advance(
        evolve(
            operation,
            step="undo",
            tries=0,
            generation=generation,
            fault=Fault(500, failure.message, now, details=failure.error),
            story=(*operation.story, line),
        ),
        evolve(instance, generation=generation, updated=now),
    )


def _after_undo(operation: Operation, instance: Instance, outcome: Succeeded | Failed, now: datetime) -> Decision:
    """A host that may still run the guest keeps the server: built elsewhere as well, it would run twice."""
    fault = operation.fault or Fault(500, "the build failed", now)
    if isinstance(outcome, Failed) and not outcome.host_down:
        text = (
            f"{fault.details}. It could not be taken back on {operation.host}, where the guest may be: "
            f"{outcome.message}. Delete the server"
        )
        dead = evolve(instance, vm_state="error", task_state=None, updated=now, fault=evolve(fault, details=text))
        return Finish(dead, error=fault.message)
    how = "taken back" if isinstance(outcome, Succeeded) else "given up: the host is down, and cleans up on its return"
    returning = evolve(operation, step="returning", story=(*operation.story, Line(now, f"attempt {how}")))
    return GiveBack(returning, instance, fault)


def settle(
    operation: Operation, instance: Instance, state: GuestState | None, vm_state: str, now: datetime, **more: Any
) -> Finish:
    """The server at rest in this vm_state, as the hypervisor last said it is; `more` are fields that change too."""
    if state is not None:
        more |= {"power_state": state.power_state, "addresses": state.addresses or instance.addresses}
    return Finish(evolve(instance, vm_state=vm_state, task_state=None, updated=now, fault=None, **more))


def abandoned(operation: Operation, instance: Instance, failure: str, now: datetime) -> Finish:
    """The operation could not be carried out, nor unwound, until its deadline; how far it came on the host is not
    known."""
    text = f"{operation.kind} was given up at its deadline: {failure[:500]}"
    fault = Fault(500, text, now, details=f"step {operation.step} on {operation.host}")
    return Finish(evolve(instance, vm_state="error", task_state=None, updated=now, fault=fault), error=text)


def revert(operation: Operation, instance: Instance, failure: Failed, now: datetime) -> Finish:
    """The command failed and nothing changed: the server rests where it was, the fault says why."""
    fault = Fault(500, failure.message, now, details=failure.error)
    return Finish(evolve(instance, task_state=None, updated=now, fault=fault), error=failure.message)
