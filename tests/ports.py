"""Ports for the servers of tests. They lie below those that the kernel gives to outgoing connections, so that a server
which was killed finds its port when it comes back; and each is given by one process alone, however many run tests."""

import fcntl
import os
import tempfile
from itertools import count
from pathlib import Path
from typing import IO, Final

from control.site.options import OBSERVED_ROLES, Ports
from control.site.ports import is_free

ALL: Final = range(20000, 32500)
SHARE: Final = 500
"""what a process has of them for as long as it lives"""
_given = count()
_locked: list[IO[str]] = []
_base = 0


def free_port() -> int:
    return _in_a_row(1)


def site_ports() -> Ports:
    """As many in a row as a site takes."""
    first = _in_a_row(4 + len(OBSERVED_ROLES))
    return Ports(first, first + 1, first + 2, first + 3, first + 4)


def _in_a_row(wanted: int) -> int:
    """The first of them; none of them is given again before all others were."""
    global _base
    _base = _base or _share()
    for _ in range(2 * SHARE):
        row = [_base + next(_given) % SHARE for _ in range(wanted)]
        if row[-1] == row[0] + wanted - 1 and all(map(is_free, row)):
            return row[0]
    raise RuntimeError(f"no {wanted} free ports in a row from {_base} to {_base + SHARE - 1}")


def _share() -> int:
    """The first port of one that no other process has."""
    folder = Path(tempfile.gettempdir()) / f"kilonova-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for base in ALL[::SHARE]:
        lock = (folder / str(base)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        _locked.append(lock)
        return base
    raise RuntimeError(f"{folder} is full: too many processes run tests here")
