"""A console's length of 20 digits was a 500: no message holds such a number, and Python reads no longer ones at all."""

import pytest

from control.compute.handlers.server_actions import MOST_LINES, lines_of


@pytest.mark.parametrize(
    ("asked", "lines"),
    [
        (None, None),
        (-1, None),
        ("-1", None),
        (0, 0),
        ("50", 50),
        ("50\n", 50),
        (72644878633307185152, MOST_LINES),
        ("9" * 5000, MOST_LINES),
    ],
)
def test_any_number_of_lines_can_be_asked_for(asked: int | str | None, lines: int | None) -> None:
    assert lines_of(asked) == lines
