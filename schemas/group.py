"""Server groups: servers that are to share a host, or not to."""

from datetime import datetime
from typing import Final, Literal

from attrs import field, frozen

from schemas.codec import record

Policy = Literal["affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity"]
POLICIES: Final[tuple[Policy, ...]] = ("affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity")


@record(1)
@frozen
class ServerGroup:
    """`members` names the hosts on which each server holds a claim: none until it was placed, two while it moves.
    Whoever writes a member's allocation compares and rewrites this record, so that a hard policy holds at all times."""

    uuid: str
    name: str
    project: str
    user: str
    policy: Policy
    created: datetime
    max_server_per_host: int | None = None
    """the rule of that name, for anti-affinity; None: 1"""
    members: dict[str, tuple[str, ...]] = field(factory=dict)
