"""W3C's Trace Context: what is taken from a header, what is made where there is none."""

import pytest

from schemas.context import new_traceparent, trace_id, valid_traceparent

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        (f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01"),
        (f"cc-{TRACE}-{PARENT}-01-what-the-future-brings", f"00-{TRACE}-{PARENT}-00"),
        (f"cc-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"),
        (f"00-{TRACE}-{PARENT}-01-more", ""),
        (f"ff-{TRACE}-{PARENT}-01", ""),
        (f"00-{'0' * 32}-{PARENT}-01", ""),
        (f"00-{TRACE}-{'0' * 16}-01", ""),
        (f"00-{TRACE.upper()}-{PARENT}-01", ""),
        (f"00-{TRACE}-{PARENT}-01\n", ""),
        (f"00-{TRACE}-{PARENT}", ""),
        ("", ""),
    ],
)
def test_a_header(header: str, taken: str) -> None:
    assert valid_traceparent(header) == taken


def test_a_new_trace_is_a_valid_one() -> None:
    made = new_traceparent(bytes(range(1, 25)))
    assert valid_traceparent(made) == made == "00-0102030405060708090a0b0c0d0e0f10-1112131415161718-00"
    assert trace_id(made) == "0102030405060708090a0b0c0d0e0f10"
