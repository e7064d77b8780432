"""What of a server's records does not agree with its mapping, and the transaction that mends it. Pure.

Every transaction compares all that it was decided on, records that must be missing included: whoever carries it out a
round later changes nothing that has changed meanwhile.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Final

from attrs import frozen

from control.placement.groups import without
from control.servers.quota import charged, used_more
from kv.keys import Cell, Global, Key
from kv.txn import Stored, Txn
from schemas.group import ServerGroup
from schemas.operation import Operation
from schemas.quota import QuotaUsage
from schemas.server import (
    Charge,
    HostedServer,
    Instance,
    InstanceMapping,
    RequestSpec,
    ServerIndex,
    time_key,
    to_us,
)
from schemas.shards import shard_of

MEMBERS_COMPARED: Final = 50
"""a transaction: two comparisons each"""


@frozen
class Repair:
    """`why` is what operators read."""

    what: str
    """the path of the record that is wrong"""
    why: str
    txn: Txn

    @property
    def judgement(self) -> tuple[object, ...]:
        """What has to be the same in two rounds."""
        return (self.why, *sorted(self.txn.revisions.items()))


@frozen
class AtTop:
    """The records of one id in the global store; the lines are those that its mapping names."""

    uuid: str
    mapping: Stored[InstanceMapping] | None
    operation: Stored[Operation] | None
    spec: Stored[RequestSpec] | None
    project_line: Stored[ServerIndex] | None = None
    time_line: Stored[ServerIndex] | None = None


def line_keys(server: InstanceMapping) -> tuple[Key[ServerIndex], Key[ServerIndex]]:
    """Of its project and of all."""
    when = time_key(to_us(server.created), server.uuid)
    return Global.PROJECT_SERVERS(server.project, when), Global.ALL_SERVERS(when)


def server_repairs(found: AtTop) -> Iterator[Repair]:
    """A server with an operation is left alone."""
    if found.operation is not None:
        return
    if found.mapping is None:
        if found.spec is not None:
            txn = _idle(Txn("drop spec"), found.uuid, None).remove(found.spec)
            yield Repair(found.spec.key.path, "a request spec of no server", txn)
        return
    server = found.mapping.value
    of_project, of_all = line_keys(server)
    line = found.project_line
    if line is None or line.value.cell != server.cell:
        txn = _idle(Txn("mend line"), found.uuid, found.mapping).at(of_project, line.mod_revision if line else 0)
        txn.put(of_project, ServerIndex(server.project, server.cell))
        yield Repair(of_project.path, "not listed in its project" if line is None else "listed in another cell", txn)
    if found.time_line is None:
        txn = _idle(Txn("mend line"), found.uuid, found.mapping).create(of_all, ServerIndex(server.project))
        yield Repair(of_all.path, "not listed", txn)


def stray_line(line: Stored[ServerIndex], mapping: Stored[InstanceMapping] | None) -> Repair | None:
    """A line of the lists that no server has. The caller has seen that no operation is under way."""
    uuid = line.key.path[-36:]
    if mapping is not None and line.key.path in {key.path for key in line_keys(mapping.value)}:
        return None
    txn = _idle(Txn("drop line"), uuid, mapping).remove(line)
    return Repair(line.key.path, "a list's line of no server", txn)


def lost_members(group: Stored[ServerGroup], there: Container[str], awaited: Container[str]) -> Repair | None:
    """Members that are no servers. `awaited` are the ids of large requests that are not written yet."""
    gone = sorted(m for m in group.value.members if m not in there and m not in awaited)
    if not gone:
        return None
    txn = Txn("drop members").replace(group, without(group.value, gone[:MEMBERS_COMPARED]))
    for uuid in gone[:MEMBERS_COMPARED]:
        _idle(txn, uuid, None)
    return Repair(group.key.path, f"{len(gone)} members that are no servers", txn)


def charge_of_all(
    servers: Iterable[InstanceMapping], requests: Iterable[tuple[str, Charge, int]], groups: Iterable[ServerGroup]
) -> QuotaUsage:
    """What a project's servers and groups count. `requests`: (user, charge, servers not written yet) of large ones."""
    usage = QuotaUsage()
    for server in servers:
        usage = charged(usage, server.user, server.charge, 1)
    for user, charge, left in requests:
        usage = charged(usage, user, charge, left)
    for group in groups:
        usage = used_more(usage, group.user, {"server_groups": 1})
    return usage


def charge_repair(usage: Stored[QuotaUsage], counted: QuotaUsage) -> Repair | None:
    """`counted` from records that were read while the usage did not change: every charge rewrites it."""
    if usage.value == counted:
        return None
    why = f"{usage.value.instances} servers are charged for, {counted.instances} count"
    return Repair(usage.key.path, why, Txn("mend charge").replace(usage, counted))


def host_line_repair(instance: Stored[Instance], lines: Mapping[str, Stored[HostedServer]]) -> Repair | None:
    """A server that the index of its host lacks. `lines` by path."""
    server = instance.value
    if server.host is None:
        return None
    key = Cell.BY_HOST(server.host, server.uuid)
    if key.path in lines:
        return None
    line = HostedServer(server.project, server.created_us)
    return Repair(key.path, "not in its host's index", Txn("mend host line").unchanged(instance).create(key, line))


def stray_host_line(host: str, line: Stored[HostedServer], instance: Stored[Instance] | None) -> Repair | None:
    """A line in a host's index of a server that is not on it."""
    if instance is not None and instance.value.host == host:
        return None
    uuid = line.key.path[-36:]
    key = instance_key_of(line.value, uuid)
    txn = Txn("drop host line").remove(line).at(key, instance.mod_revision if instance else 0)
    return Repair(line.key.path, "a host's line of a server that is not on it", txn)


def instance_key_of(line: HostedServer, uuid: str) -> Key[Instance]:
    return Cell.INSTANCES(line.project, time_key(line.created_us, uuid))


def _idle(txn: Txn, uuid: str, mapping: Stored[InstanceMapping] | None) -> Txn:
    """Compares that nothing is under way at the top and that the mapping is as it was."""
    txn.absent(Global.OPERATIONS(shard_of(uuid), uuid))
    return txn.at(Global.INSTANCES(uuid), mapping.mod_revision if mapping else 0)
