"""Regular expressions of users: linear, within a budget, never for long on the event loop."""

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from control.compute.patterns import INLINE, INLINED, LARGEST, LONGEST, Patterns
from schemas.errors import BadRequest

ORDINARY = [
    "a*b*c*d*",
    "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "^(a|a)*$",
    "(a+)+$",
    "^web-[0-9]+(\\.example\\.com)?$",
    "|".join(f"web-{n}" for n in range(30)),
    "[[:alpha:]]+",
    "größe|服务器|🦕",
]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_expressions_are_taken(text: str) -> None:
    """A guard against slow expressions used to refuse more than three repeats, and any that was nested."""
    Patterns().compile(text)


def test_what_took_seconds_takes_microseconds() -> None:
    """`^(a|a)*$` and 24 times `a` with a `!` held the loop for seconds, doubling with each letter."""
    pattern = Patterns().compile("^(a|a)*$")
    began = time.perf_counter()
    assert not pattern.found_in("a" * 20_000 + "!")
    assert pattern.found_in("a" * 20_000)
    assert time.perf_counter() - began < 1


def test_case_does_not_matter() -> None:
    assert Patterns().compile("wEB").found_in("a Web server")


REFUSED = [
    ("(", "Invalid regular expression (: missing ): ("),
    (r"(a)\1", r"Invalid regular expression (a)\1: invalid escape sequence: \1"),
    ("(?=a)", "Invalid regular expression (?=a): invalid perl operator: (?="),
    ("\ud800", "Invalid regular expression \ud800: it has characters that no text has"),
    ("a" * (LONGEST + 1), "Regular expression a"),
    (r"\pL" * 5, r"Regular expression \pL\pL\pL\pL\pL is too complex"),
    (f"(a?){{{LARGEST}}}", f"Regular expression (a?){{{LARGEST}}} is too complex"),
]


@pytest.mark.parametrize(("text", "why"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused_says_why(text: str, why: str) -> None:
    with pytest.raises(BadRequest) as raised:
        Patterns().compile(text)
    assert raised.value.message.startswith(why)


def test_the_expressions_of_a_request_share_a_budget() -> None:
    patterns = Patterns()
    patterns.compile("(?:a?){400}")
    with pytest.raises(BadRequest, match="too complex"):
        patterns.compile("(?:b?){400}")


async def _turns(patterns: Patterns, names: Sequence[str], text: str) -> tuple[list[int], set[str]]:
    """How many names were searched between two turns of the loop, and on which threads."""
    pattern, counts, threads = patterns.compile(text), [0], set()

    def test(name: str) -> bool:
        counts[-1] += 1
        threads.add(threading.current_thread().name)
        return pattern.found_in(name)

    async def others() -> None:
        while True:
            await asyncio.sleep(0)
            counts.append(0)

    async with asyncio.TaskGroup() as group:
        turning = group.create_task(others())
        await asyncio.sleep(0)
        await patterns.kept(names, test)
        turning.cancel()
    return counts, threads


async def test_a_small_expression_is_searched_in_slices() -> None:
    patterns = Patterns()
    counts, threads = await _turns(patterns, ["web"] * 100, "web")
    assert patterns.size <= INLINE
    assert threads == {threading.current_thread().name}
    assert sum(counts) == 100
    assert max(counts) <= INLINED


async def test_a_large_expression_is_searched_on_a_thread() -> None:
    patterns = Patterns()
    _, threads = await _turns(patterns, ["a" * 255] * 60, "(?:a?){130}(?:a){130}")
    assert patterns.size > INLINE
    assert all(name.startswith("patterns") for name in threads)
