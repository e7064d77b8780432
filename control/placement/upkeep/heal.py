"""Gives servers that rest on a host the allocations that they lack. Pure."""

from collections.abc import Mapping
from datetime import datetime

from attrs import evolve, frozen

from control.placement.reading import Reading
from control.placement.resources import Amounts, needed_by
from control.placement.upkeep.known import SERVER, Server
from control.placement.writes.allocations import ANY, Claim, replace
from kv.keys import Global
from kv.txn import Txn
from schemas.errors import CompareFailed
from schemas.shards import shard_of


@frozen
class Healing:
    """What a server shall hold."""

    server: Server
    resources: dict[str, Amounts]


@frozen
class NoNode:
    """The server's host is not known as a compute node."""

    server: Server


def healing_of(server: Server, providers: Mapping[str, str], *, force: bool) -> Healing | NoNode | None:
    """None: there is nothing to heal, or nothing to judge by. `providers` are the hosts' by name. With `force` what it
    holds already is computed anew, as nova-manage does it."""
    instance = server.instance
    if server.state != "settled" or instance is None or instance.host is None:
        return None
    if server.allocation is not None and not force:
        return None
    provider = providers.get(instance.host)
    if provider is None:
        return NoNode(server)
    wanted = {provider: needed_by(instance.flavor, instance.image.properties if instance.image else {})}
    if not wanted[provider]:
        return None
    if server.allocation is not None and server.allocation.value.resources == wanted:
        return None
    return Healing(server, wanted)


def heal(reading: Reading, healing: Healing, now: datetime) -> Txn:
    """Raises CompareFailed when the server is not any more as it was judged, Conflict for what does not fit."""
    server = healing.server
    assert server.instance is not None
    assert server.mapping is not None
    held = reading.get(Global.ALLOCATIONS(server.uuid))
    if (held and held.mod_revision) != (server.allocation and server.allocation.mod_revision):
        raise CompareFailed(f"what server {server.uuid} holds has changed")
    instance = server.instance
    claim = Claim(server.uuid, healing.resources, instance.project, instance.user, SERVER, ANY)
    txn = replace(reading, [claim], now)
    key = Global.ALLOCATIONS(server.uuid)
    txn.put(key, evolve(txn.writes[key.path].value, group=server.mapping.value.group))
    return judged(reading, txn, server)


def judged(reading: Reading, txn: Txn, server: Server) -> Txn:
    """Compares what the judgement of a server stands on. Raises CompareFailed when that has changed already."""
    operation, mapping = Global.OPERATIONS(shard_of(server.uuid), server.uuid), Global.INSTANCES(server.uuid)
    before = server.mapping.mod_revision if server.mapping else 0
    now = reading.get(mapping)
    if reading.get(operation) is not None or (now.mod_revision if now else 0) != before:
        raise CompareFailed(f"server {server.uuid} is being worked on")
    return txn.absent(operation).at(mapping, before)
