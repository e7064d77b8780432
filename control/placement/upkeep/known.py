"""What the stores know of one consumer, read from the top down. Pure."""

from typing import Final, Literal

from attrs import frozen

from kv.txn import Stored
from schemas.placement import Allocation
from schemas.server import Instance, InstanceMapping

SERVER: Final = "INSTANCE"
"""The consumer type of the servers' claims, which are ours to judge; a migration's or an outsider's are not."""

State = Literal["none", "moving", "unreachable", "settled"]
"""There is no such server; it is being worked on, so that its records differ for a while; its cell does not answer; it
rests."""


@frozen
class Server:
    """`instance` is there when it is settled. A server is judged by what was true at some moment of the reading, so
    whoever acts on it compares `mapping` and that there is no operation at the top."""

    uuid: str
    state: State
    mapping: Stored[InstanceMapping] | None = None
    instance: Instance | None = None
    allocation: Stored[Allocation] | None = None
