"""The claim: one transaction that compares all that a choice stands on and writes it into the operation. Pure but for
the Txn that it fills."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from attrs import define, evolve, field, frozen

from control.placement.forest import Forest
from control.placement.groups import placed, violation
from control.placement.resources import Amounts, lacking, with_claim
from control.scheduler.decide import Choice
from control.scheduler.model import HostState
from control.scheduler.request import Request
from kv.keys import Global
from kv.txn import Stored, Txn
from schemas.errors import CompareFailed
from schemas.group import ServerGroup
from schemas.host import CellMapping
from schemas.messages import SelectItem
from schemas.operation import Line, Operation
from schemas.placement import Allocation, Provider, Usages
from schemas.shards import shard_of

MAX_CLAIMS: Final = 24
"""a transaction: two writes each, beside those that they share"""
MAX_SPREAD_CLAIMS: Final = 12
"""a transaction, where claims take from several providers each"""


@frozen(eq=False)
class Claim:
    """One server's choice on its way into the store."""

    item: SelectItem
    request: Request
    choice: Choice


@define(eq=False)
class Claimed:
    """What a transaction will have left: operations by server, usages by provider, and the group."""

    txn: Txn
    operations: dict[str, Operation] = field(factory=dict)
    usages: dict[str, Usages] = field(factory=dict)
    group: ServerGroup | None = None


def claimed(
    claims: list[Claim],
    forest: Forest,
    cells: Mapping[str, Stored[CellMapping]],
    group: Stored[ServerGroup] | None,
    now: datetime,
    default_zone: str,
) -> Claimed:
    """Several servers together; with a group, one. Raises CompareFailed for what cannot hold any more."""
    done = Claimed(Txn("claim"))
    for claim in claims:
        spec, before = claim.item.spec, claim.item.operation
        if before.server in done.operations:
            continue  # asked for twice: who did not get an answer asks again
        host = claim.choice.host
        mapping, provider, cell = host.mapping, host.provider, cells.get(host.cell) if host.mapping else None
        if mapping is None or provider is None or cell is None:
            raise CompareFailed(f"{host.host} or its cell has gone")
        # Providers too: their inventories may be heard of later than the usages that changed with them.
        done.txn.unchanged(mapping).unchanged(provider).unchanged(cell)
        for uuid, amounts in claim.choice.resources.items():
            _take(done, forest, uuid, amounts)
        operation = _operation(before, host, provider.value, claim.choice, now, default_zone)
        key = Global.OPERATIONS(shard_of(before.server), before.server)
        resources = claim.choice.resources
        allocation = Allocation(before.server, spec.project, spec.user, resources, now, group=spec.group)
        done.txn.at(key, claim.item.revision).put(key, operation)
        done.txn.create(Global.ALLOCATIONS(before.server), allocation)
        done.operations[before.server] = operation
    for uuid, after in done.usages.items():
        usages = forest.usages(uuid)
        assert usages is not None
        done.txn.replace(usages, after)
    _keep_group(done, claims[0], group)
    return done


def _take(done: Claimed, forest: Forest, uuid: str, amounts: Amounts) -> None:
    node = forest.get(uuid)
    if node is None or node.stored is None or node.usages is None:
        raise CompareFailed(f"provider {uuid} has gone")
    used = done.usages.get(uuid, node.usages.value)
    if lacking(node.inventories, used.used, amounts):
        raise CompareFailed(f"{node.stored.value.name} was filled meanwhile")
    done.txn.unchanged(node.stored)
    done.usages[uuid] = with_claim(used, amounts)


def _keep_group(done: Claimed, claim: Claim, group: Stored[ServerGroup] | None) -> None:
    """The policy is held here, against the record that the transaction compares and rewrites."""
    named, server, host = claim.item.spec.group, claim.item.operation.server, claim.choice.host.host
    if named is None:
        return
    if group is None:  # deleted since: its servers are free, and it must not come back unseen
        done.txn.absent(Global.GROUPS(named))
        return
    why = violation(group.value, server, host)
    if why:
        raise CompareFailed(f"{host}: {why}")
    done.group = placed(group.value, server, [host])
    done.txn.replace(group, done.group)


def _operation(
    before: Operation, host: HostState, provider: Provider, choice: Choice, now: datetime, default_zone: str
) -> Operation:
    return evolve(
        before,
        step="place",
        host=host.host,
        results={
            **before.results,
            "cell": host.cell,
            "node": provider.name,
            "zone": host.zone(default_zone),
            "provider": provider.uuid,
            "alternates": list(choice.alternates),
        },
        story=(*before.story, Line(now, f"claimed host {host.host} in {host.cell}")),
    )
