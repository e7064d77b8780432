"""The claim: one transaction that compares all that a choice stands on and writes it into the operation. Pure but for
the Txn that it fills."""

from datetime import datetime
from typing import Final

from attrs import define, evolve, field, frozen

from control.placement.groups import placed, violation
from control.placement.resources import lacking, with_claim
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
from schemas.placement import Allocation, Usages
from schemas.shards import shard_of

MAX_CLAIMS: Final = 24
"""a transaction: two writes each, beside those that they share"""


@frozen(eq=False)
class Claim:
    """One server's choice on its way into the store."""

    item: SelectItem
    request: Request
    choice: Choice


@define(eq=False)
class Claimed:
    """What a transaction will have left: operations by server, and the records that its claims share."""

    txn: Txn
    operations: dict[str, Operation]
    usages: Usages
    group: ServerGroup | None = None
    claims: list[Claim] = field(factory=list)


def claimed(
    claims: list[Claim],
    cell: Stored[CellMapping] | None,
    group: Stored[ServerGroup] | None,
    now: datetime,
    default_zone: str,
) -> Claimed:
    """Several servers on one host; with a group, one. Raises CompareFailed for what cannot hold any more."""
    host = claims[0].choice.host
    mapping, provider, usages = host.mapping, host.provider, host.usages
    if mapping is None or provider is None or usages is None or cell is None:
        raise CompareFailed(f"{host.host} or its cell has gone")
    # The provider too: its inventories may be heard of later than the usages that changed with them.
    done = Claimed(Txn("claim").unchanged(mapping).unchanged(provider).unchanged(cell), {}, usages.value)
    for claim in claims:
        spec, before, asked = claim.item.spec, claim.item.operation, claim.request.asked
        if before.server in done.operations:
            continue  # asked for twice: who did not get an answer asks again
        if lacking(provider.value.inventories, done.usages.used, asked):
            raise CompareFailed(f"{host.host} was filled meanwhile")
        done.usages = with_claim(done.usages, asked)
        operation = _operation(before, host, provider.value.uuid, provider.value.name, claim.choice, now, default_zone)
        key = Global.OPERATIONS(shard_of(before.server), before.server)
        resources = {provider.value.uuid: asked}
        allocation = Allocation(before.server, spec.project, spec.user, resources, now, group=spec.group)
        done.txn.at(key, claim.item.revision).put(key, operation)
        done.txn.create(Global.ALLOCATIONS(before.server), allocation)
        done.operations[before.server] = operation
    done.txn.replace(usages, done.usages)
    _keep_group(done, claims[0], group)
    return done


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
    before: Operation, host: HostState, provider: str, node: str, choice: Choice, now: datetime, default_zone: str
) -> Operation:
    return evolve(
        before,
        step="place",
        host=host.host,
        results={
            **before.results,
            "cell": host.cell,
            "node": node,
            "zone": host.zone(default_zone),
            "provider": provider,
            "alternates": list(choice.alternates),
        },
        story=(*before.story, Line(now, f"claimed host {host.host} in {host.cell}")),
    )
