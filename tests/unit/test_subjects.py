"""Subjects: names become single tokens, and what an agent may say or hear lies under its own."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import subjects
from schemas.shards import SHARDS, shard_of

names = st.text(min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("name", "token"),
    [
        ("node-1", "node-1"),
        ("node_1", "node_1"),
        ("node.example.org", "node=2eexample=2eorg"),
        ("a b*>", "a=20b=2a=3e"),
        ("a=2e", "a=3d2e"),
    ],
)
def test_a_name_as_a_token(name: str, token: str) -> None:
    assert subjects.token(name) == token


@given(names)
def test_any_name_is_one_token_that_nats_takes(name: str) -> None:
    """Letters and digits beyond ASCII went out as they were, other signs as a number of any length, so that two names
    could share a token."""
    assert re.fullmatch(r"[A-Za-z0-9_=-]+", subjects.token(name))


@given(names, names)
def test_different_names_are_different_tokens(one: str, other: str) -> None:
    assert (subjects.token(one) == subjects.token(other)) == (one == other)


def test_the_table() -> None:
    assert subjects.SCHEDULER_SELECT == "kn.scheduler.select"
    assert subjects.top_wake(7) == "kn.conductor.wake.7"
    assert subjects.cell_wake("cell1", 7) == "kn.cell1.conductor.wake.7"
    assert subjects.report("cell1", 7, "h.1") == "kn.cell1.shard.7.report.h=2e1"
    assert subjects.report("cell1", "*", "*") == "kn.cell1.shard.*.report.*"
    assert subjects.host_verb("cell1", "h.1", "command") == "kn.cell1.host.h=2e1.command"
    assert subjects.call("cell1") == "kn.call.cell1"
    assert subjects.call("*") == "kn.call.*"
    assert subjects.cell_call("cell.1") == "kn.cell=2e1.conductor.call"


def test_shards_are_stable_for_ever() -> None:
    """Keys hold them: another function would lose every operation."""
    assert [shard_of(name) for name in ("", "h1", "3f7c2f6e-9f0a-4a40-9c4c-0d6a3f3b7a11")] == [37, 56, 8]
    found = {shard_of(f"server-{n}") for n in range(2000)}
    assert found == set(range(SHARDS))
