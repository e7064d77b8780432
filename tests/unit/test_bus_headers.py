"""Headers of messages are read as nats-py reads them."""

from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from bus.connection import Connection

words = st.text("aA-: \t\x0b\x1c\r\néß", max_size=8).map(str.encode)
lines = st.one_of(words, st.tuples(words, words).map(b": ".join), st.just(b"traceparent: 00-ab-cd-01"))


@given(st.lists(lines, max_size=5).map(b"\r\n".join))
def test_headers_are_read_as_nats_py_reads_them(raw: bytes) -> None:
    assert Connection._parse_header_lines(raw) == Client._parse_header_lines(raw)
