"""What a host may open: told by the first bytes alone."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.images.formats import SIGNATURES, check_format, found_format
from schemas.errors import BadRequest


def qcow2(version: int, virtual: int, backing: int = 0, features: int = 0) -> bytes:
    head = struct.pack(">4sIQIIQ", b"QFI\xfb", version, backing, 9 if backing else 0, 16, virtual)
    return head.ljust(72, b"\0") + struct.pack(">Q", features) + bytes(24)


@pytest.mark.parametrize("version", [2, 3])
def test_the_virtual_size(version: int) -> None:
    assert check_format("qcow2", qcow2(version, 10 << 30), 200_000) == 10 << 30
    assert check_format("raw", bytes(4096), 4096) == 4096


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (qcow2(3, 1 << 20, backing=104), "backing file"),
        (qcow2(2, 1 << 20, backing=72), "backing file"),
        (qcow2(3, 1 << 20, features=4), "another file"),
        (qcow2(3, 0), "impossible size"),
        (qcow2(1, 1 << 20), "version 1"),
        (qcow2(3, 1 << 20)[:40], "cut short"),
        (qcow2(3, 1 << 20)[:80], "cut short"),
        (b"", "is not"),
    ],
)
def test_qcow2_that_is_refused(head: bytes, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        check_format("qcow2", head, 1 << 20)


@pytest.mark.parametrize("name", SIGNATURES)
def test_what_bears_a_signature_is_not_raw(name: str) -> None:
    """A raw image is opened as it is: a guest could otherwise write a header that names a host's file."""
    head = SIGNATURES[name].ljust(4096, b"\0")
    assert found_format(head) == name
    with pytest.raises(BadRequest, match=f"the data is {name}"):
        check_format("raw", head, 4096)


@given(st.binary(max_size=300), st.sampled_from(["qcow2", "raw", "iso", "vmdk"]))
def test_no_bytes_break_it(head: bytes, declared: str) -> None:
    try:
        check_format(declared, head, len(head))
    except BadRequest:
        return
