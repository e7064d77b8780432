"""Every NATS subject. Core NATS only; a lost message costs latency, never correctness."""

from string import ascii_letters, digits
from typing import Final

SCHEDULER_SELECT: Final = "kn.scheduler.select"
"""queue group: choose and claim hosts for a batch of operations"""

_PLAIN: Final = frozenset(ascii_letters + digits + "-_")


def token(name: str) -> str:
    """A host's or cell's name as one subject token: `=` and two hex digits for each byte that is not fit for one."""
    return "".join(chr(b) if chr(b) in _PLAIN else f"={b:02x}" for b in name.encode())


def top_wake(shard: int | str) -> str:
    """hint: there is a new operation at the top"""
    return f"kn.conductor.wake.{shard}"


def cell_wake(cell: str, shard: int | str) -> str:
    """hint: there is a new operation in the cell"""
    return f"kn.{token(cell)}.conductor.wake.{shard}"


def report(cell: str, shard: int | str, host: str) -> str:
    """agent -> owner of the shard: request, repeated until the owner has committed"""
    return f"kn.{token(cell)}.shard.{shard}.report.{host if host == '*' else token(host)}"


def host_verb(cell: str, host: str, verb: str) -> str:
    """conductor -> agent, request/reply: accepted or refused, at once"""
    return f"kn.{token(cell)}.host.{token(host)}.{verb}"


def call(cell: str) -> str:
    """API -> super conductor, for reads that only the host can answer"""
    return f"kn.call.{cell if cell == '*' else token(cell)}"


def cell_call(cell: str) -> str:
    """super conductor -> conductor of the cell"""
    return f"kn.{token(cell)}.conductor.call"
