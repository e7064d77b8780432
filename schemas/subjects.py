"""Every NATS subject. Core NATS only; a lost message costs latency, never correctness."""

from string import ascii_letters, digits
from typing import Final

from attrs import frozen

SCHEDULER_SELECT: Final = "kn.scheduler.select"
"""queue group: choose and claim hosts for a batch of operations"""
SCHEDULER_EXPLAIN: Final = "kn.scheduler.explain"
"""queue group: what would be decided now, and why"""

AGENT_SERVICE: Final = "agent"
"""the name under which every agent's functions are discovered"""

_PLAIN: Final = frozenset(ascii_letters + digits + "-_")


def token(name: str) -> str:
    """A host's or cell's name as one subject token: `=` and two hex digits for each byte that is not fit for one."""
    return "".join(chr(b) if chr(b) in _PLAIN else f"={b:02x}" for b in name.encode())


def name_of(encoded: str) -> str:
    """The name that `token` has encoded. Raises ValueError."""
    plain = bytearray()
    rest = iter(encoded)
    for char in rest:
        plain += bytes.fromhex(next(rest, "") + next(rest, "")) if char == "=" else char.encode()
    return plain.decode()


def top_wake(shard: int | str) -> str:
    """hint: there is a new operation at the top"""
    return f"kn.conductor.wake.{shard}"


def cell_wake(cell: str, shard: int | str) -> str:
    """hint: there is a new operation in the cell"""
    return f"kn.{token(cell)}.conductor.wake.{shard}"


def report(cell: str, shard: int | str, host: str) -> str:
    """agent -> owner of the shard: request, repeated until the owner has committed"""
    return f"kn.{token(cell)}.shard.{shard}.report.{host if host == '*' else token(host)}"


def reporter(subject: str) -> str:
    """The host that a `report` subject names: who sent what came on it. Raises ValueError."""
    parts = subject.split(".")
    if len(parts) != 6 or parts[4] != "report":
        raise ValueError(f"no agent reports on {subject}")
    return name_of(parts[5])


def host_verb(cell: str, host: str, verb: str) -> str:
    """conductor -> agent, request/reply: accepted or refused, at once"""
    return f"kn.{token(cell)}.host.{token(host)}.{verb}"


def call(cell: str) -> str:
    """API -> super conductor, for reads that only the host can answer"""
    return f"kn.call.{cell if cell == '*' else token(cell)}"


def cell_call(cell: str) -> str:
    """super conductor -> conductor of the cell"""
    return f"kn.{token(cell)}.conductor.call"


def discovery(verb: str, service: str, instance: str) -> tuple[str, str, str]:
    """Where NATS's services protocol asks: everybody, all of one service, one process of it."""
    return f"$SRV.{verb}", f"$SRV.{verb}.{service}", f"$SRV.{verb}.{service}.{instance}"


def inbox(host: str) -> str:
    """Prefix of the subjects on which an agent gets answers: nobody else may hear them."""
    return f"_INBOX.{token(host)}"


@frozen
class Permissions:
    """What a user of NATS may do. A request that it received it may always answer."""

    subscribe: tuple[str, ...]
    publish: tuple[str, ...]


def agent_permissions(cell: str, host: str) -> Permissions:
    """All that an agent needs, and nothing that is another's."""
    return Permissions(
        subscribe=(host_verb(cell, host, ">"), f"{inbox(host)}.>", *discovery("*", AGENT_SERVICE, "*")),
        publish=(report(cell, "*", host),),
    )
