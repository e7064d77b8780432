"""Numbers of strangers."""

import pytest

from schemas.numbers import MOST, whole_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("007", 7),
        ("-3", -3),
        ("9" * 19, MOST),
        ("9" * 5000, MOST),
        ("-" + "9" * 5000, -MOST),
        ("0" * 5000, MOST),
        ("", None),
        ("-", None),
        ("1.0", None),
        (" 1", None),
        ("٣", None),
        ("1_0", None),
        ("²", None),
    ],
    ids=range(14),
)
def test_a_whole_number_of_any_length(text: str, number: int | None) -> None:
    """`int` raises for more than 4,300 digits, which used to be a 500."""
    assert whole_number(text) == number
