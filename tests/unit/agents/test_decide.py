"""What an agent does with a command, given what it remembers of the server."""

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from unit_records import mark

from agents.decide import Adopt, Begin, Job, Memory, Refuse, decide
from schemas.messages import Command

SESSION = "s1"


def command(generation: int = 1, op: str = "boot/req-1/1", step: str = "spawn", **more: Any) -> Command:
    return evolve(Command("spawn", SESSION, mark(generation=generation, op=op), step), **more)


def test_the_first_command_begins() -> None:
    job = Job("boot/req-1/1", "spawn", 1)
    assert decide(Memory(), command(3), SESSION, "serving") == Begin(Memory(3, job, running=True))


def test_another_sessions_command_is_refused_before_all_else() -> None:
    for memory in (Memory(), Memory(9)):
        found = decide(memory, command(1, session="s0"), SESSION, "serving")
        assert found == Refuse("the command is for session s0, this is s1")


def test_nothing_begins_while_strays_are_removed() -> None:
    assert decide(Memory(), command(), SESSION, "registering") == Refuse("not ready: strays are being removed")


def test_an_older_generation_is_stale() -> None:
    found = decide(Memory(5), command(4), SESSION, "serving")
    assert found == Refuse("generation 4 is older than 5", stale=True, generation=5)


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize("generation", [5, 6])
def test_the_same_job_is_adopted_and_its_end_told_again(generation: int, running: bool) -> None:
    job = Job("boot/req-1/1", "spawn", 1)
    found = decide(Memory(5, job, running), command(generation), SESSION, "serving")
    assert found == Adopt(Memory(generation, job, running), again=not running)


@pytest.mark.parametrize(
    "other",
    [command(5, op="delete/req-2/1"), command(5, step="undo"), command(5, attempt=2), command(6, op="stop/req-3/1")],
)
@pytest.mark.parametrize("running", [True, False])
def test_another_job_begins(other: Command, running: bool) -> None:
    memory = Memory(5, Job("boot/req-1/1", "spawn", 1), running)
    found = decide(memory, other, SESSION, "serving")
    assert isinstance(found, Begin)
    assert found.memory.generation == other.mark.generation


commands = st.builds(
    command,
    st.integers(1, 5),
    st.sampled_from(["boot/a/1", "delete/b/1"]),
    st.sampled_from(["spawn", "undo"]),
    attempt=st.integers(1, 2),
    session=st.sampled_from([SESSION, SESSION, "s0"]),
)


@given(st.lists(commands, max_size=20))
def test_the_remembered_generation_never_falls(sent: list[Command]) -> None:
    memory = Memory()
    for one in sent:
        found = decide(memory, one, SESSION, "serving")
        if isinstance(found, Refuse):
            assert one.session != SESSION or one.mark.generation < memory.generation
            continue
        assert found.memory.generation == one.mark.generation >= memory.generation
        memory = found.memory
