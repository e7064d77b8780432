"""An operation that fails the same way again and again waits longer and longer, and ends at its deadline."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from substrate import eventually
from unit_records import NOW, UUID, instance, operation

from control.conductor import failures as failures_module
from control.conductor.engine import Engine
from control.conductor.failures import LONGEST_SECONDS, SAME, Failures
from control.conductor.sagas.table import abandoned
from schemas.errors import BadRequest, CompareFailed, StoreUnavailable
from schemas.messages import Wake
from schemas.shards import shard_of


@pytest.mark.parametrize(
    ("error", "first", "longest"),
    [(CompareFailed("x"), 0.005, 1.0), (BadRequest("x"), 0.1, 2.0), (RecursionError("x"), 1.0, 10.0)],
)
def test_the_pause_grows_to_its_kinds_longest_and_further_when_it_fails_for_good(
    error: Exception, first: float, longest: float
) -> None:
    failures = Failures()
    assert failures.note(error) == first
    pauses = [failures.note(error) for _ in range(SAME - 2)]
    assert pauses == sorted(pauses)
    assert max(pauses) <= longest
    assert not failures.for_good
    for _ in range(20):
        failures.note(error)
    assert failures.for_good
    assert failures.pause == LONGEST_SECONDS
    failures.clear()
    assert failures.note(error) == first


def test_another_failure_starts_the_count_again() -> None:
    failures = Failures()
    for n in range(3 * SAME):
        failures.note(BadRequest(str(n)))
    assert not failures.for_good


def test_a_store_that_does_not_answer_is_no_failure_of_the_operation() -> None:
    failures = Failures()
    for _ in range(3 * SAME):
        failures.note(StoreUnavailable("etcd does not answer"))
    assert not failures.for_good
    assert failures.pause <= 2.0


async def test_what_fails_for_good_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operation that could not be encoded was tried without end, with 164 MB of log a minute."""
    monkeypatch.setattr(failures_module, "_PAUSES", {Exception: (0.001, 0.001)})
    looks: list[str] = []
    given_up: list[str] = []

    async def look(_: int, hint: Wake) -> bool:
        looks.append(hint.server)
        raise RecursionError("maximum recursion depth exceeded")

    async def give_up(_: int, server: str, failure: str) -> bool:
        given_up.append(failure)
        return len(given_up) == 2

    shards = SimpleNamespace(fences={shard_of(UUID): None})
    nothing = cast(Any, None)
    engine = Engine(nothing, cast(Any, shards), nothing, nothing, str, look, 60.0, give_up=give_up)
    engine.wake(Wake(UUID))
    await eventually(lambda: not engine._running)
    assert given_up == ["RecursionError: maximum recursion depth exceeded"] * 2
    assert len(looks) == SAME + 1


def test_given_up_the_server_is_in_error_where_it_is() -> None:
    end = abandoned(operation("boot", "spawn"), instance(task_state="spawning"), "RecursionError: x", NOW)
    assert (end.instance.vm_state, end.instance.task_state, end.instance.host) == ("error", None, "h1")
    assert end.instance.fault
    assert "RecursionError: x" in end.instance.fault.message
    assert end.error == end.instance.fault.message
