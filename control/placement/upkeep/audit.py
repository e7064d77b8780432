"""Finds allocations that no server needs. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from attrs import frozen

from control.placement.reading import Reading
from control.placement.upkeep.heal import judged
from control.placement.upkeep.known import SERVER, Server
from control.placement.writes.allocations import Claim, release, replace
from control.placement.writes.guards import GUARDS
from kv.keys import Global
from kv.txn import Txn
from schemas.errors import CompareFailed

GONE: Final = "there is no such server"
NO_HOST: Final = "the server is on no host"


@frozen
class Orphan:
    """What a consumer holds on these providers it does not need."""

    server: Server
    providers: tuple[str, ...]
    why: str


def orphan_of(server: Server, hosts: Mapping[str, str | None], only: str | None = None) -> Orphan | None:
    """What is certain: claims of servers that do not exist, or on hosts where they are not. `hosts` names the host of
    each provider; one of none, a child or one that shares, belongs to whoever has a host. `only`: on this provider."""
    allocation, instance = server.allocation, server.instance
    if allocation is None or allocation.value.type != SERVER or server.state in ("moving", "unreachable"):
        return None
    held = [uuid for uuid in allocation.value.resources if only in (None, uuid)]
    if server.state == "none":
        return Orphan(server, tuple(held), GONE) if held else None
    assert instance is not None
    if instance.host is None:
        return Orphan(server, tuple(held), NO_HOST) if held else None
    elsewhere = tuple(uuid for uuid in held if hosts.get(uuid) not in (None, instance.host))
    return Orphan(server, elsewhere, f"the server is on {instance.host}") if elsewhere else None


def give_back(reading: Reading, orphan: Orphan, now: datetime) -> Txn:
    """Raises CompareFailed when anything of it has changed since it was judged."""
    server = orphan.server
    held = reading.get(Global.ALLOCATIONS(server.uuid))
    if held is None or server.allocation is None or held.mod_revision != server.allocation.mod_revision:
        raise CompareFailed(f"what server {server.uuid} holds has changed")
    kept = {uuid: amounts for uuid, amounts in held.value.resources.items() if uuid not in orphan.providers}
    if not kept:
        return judged(reading, release(reading, server.uuid, now, GUARDS), server)
    claim = Claim(server.uuid, kept, held.value.project, held.value.user)
    return judged(reading, replace(reading, [claim], now, GUARDS), server)
