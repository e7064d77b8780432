"""A taken port is named, with who has it and how to choose another."""

import os
import socket
from collections.abc import Iterator

import pytest

from control.site.errors import PortTaken
from control.site.ports import Port, check_free, complaint, is_free, listening_inodes, owner_of

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2246 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 5001 1 0000000000000000 100
   1: 0100007F:2246 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 5002 1 0000000000000000 20
   2: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 5003 1 0000000000000000 100
"""


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_listeners_are_told_from_connections() -> None:
    assert listening_inodes(TABLE, 8774) == ["5001"]
    assert listening_inodes(TABLE, 8080) == ["5003"]
    assert listening_inodes(TABLE, 40000) == []


def test_a_complaint_says_port_owner_and_option() -> None:
    said = complaint(Port(8774, "api", "--api-port"), "process 7 (nova-api)")
    assert said == "port 8774 (api) is taken by process 7 (nova-api); end that or choose another with --api-port"


def test_a_listener_is_found_with_its_owner(taken: int) -> None:
    assert not is_free(taken)
    assert owner_of(taken).startswith(f"process {os.getpid()} (")


def test_every_taken_port_is_named_at_once(taken: int) -> None:
    with pytest.raises(PortTaken, match=rf"(?s)port {taken} \(a\).*--a-port.*port {taken} \(b\).*--b-port"):
        check_free([Port(taken, "a", "--a-port"), Port(taken, "b", "--b-port")])


def test_a_free_port_passes(taken: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        number = other.getsockname()[1]
    check_free([Port(number, "api", "--api-port")])
