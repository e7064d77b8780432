"""The claim: one transaction that compares all that a choice stands on and writes it into the operation. Pure but for
the Txn that it fills."""

from datetime import datetime
from typing import Final

from attrs import define, evolve, field, frozen

from control.placement.forest import Forest
from control.placement.groups import placed, violation
from control.placement.resources import Amounts, lacking, with_claim
from control.placement.topology import fitted, with_topology
from control.scheduler.decide import Choice
from control.scheduler.model import HostState
from control.scheduler.request import Request
from kv.keys import Global
from kv.txn import Stored, Txn
from schemas.codec import to_dict
from schemas.errors import CompareFailed
from schemas.group import ServerGroup
from schemas.host import CellMapping, HostMapping
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
    """One server's choice on its way into the store, with the records of its host that it was made on: what became of
    them meanwhile makes the claim fail, also where the model has heard of it."""

    item: SelectItem
    request: Request
    choice: Choice
    mapping: Stored[HostMapping] | None
    provider: Stored[Provider] | None
    cell: Stored[CellMapping] | None


@define(eq=False)
class Claimed:
    """What a transaction will have left: operations by server, usages by provider, and the group. `lost` are those of
    the claims for which it leaves no room."""

    txn: Txn
    operations: dict[str, Operation] = field(factory=dict)
    usages: dict[str, Usages] = field(factory=dict)
    group: ServerGroup | None = None
    lost: list[Claim] = field(factory=list)


def claimed(
    claims: list[Claim],
    forest: Forest,
    group: Stored[ServerGroup] | None,
    now: datetime,
    default_zone: str,
) -> Claimed:
    """Several servers together; with a group, one. Raises CompareFailed when not one of them can hold any more."""
    done, why = Claimed(Txn("claim")), CompareFailed("nothing is claimed")
    for claim in claims:
        if claim.item.operation.server in done.operations:
            continue  # asked for twice: who did not get an answer asks again
        try:
            _add(done, claim, forest, now, default_zone)
        except CompareFailed as error:
            done.lost.append(claim)
            why = error
    if not done.operations:
        raise why
    for uuid, after in done.usages.items():
        usages = forest.usages(uuid)
        assert usages is not None
        done.txn.replace(usages, after)
    _keep_group(done, claims[0], group)
    return done


def _add(
    done: Claimed,
    claim: Claim,
    forest: Forest,
    now: datetime,
    default_zone: str,
) -> None:
    spec, before, host, resources = claim.item.spec, claim.item.operation, claim.choice.host, claim.choice.resources
    mapping, provider, cell = claim.mapping, claim.provider, claim.cell
    if mapping is None or provider is None or cell is None:
        raise CompareFailed(f"{host.host} or its cell has gone")
    taken = {uuid: _taken(done, forest, uuid, amounts) for uuid, amounts in resources.items()}
    lies = None
    if claim.request.topology:
        assert host.facts is not None
        own = taken[provider.value.uuid]
        lies = fitted(claim.request.topology, host.facts, provider.value, own)
        if lies is None:
            raise CompareFailed(f"{host.host} has no place left that is as wanted")
        taken[provider.value.uuid] = with_topology(own, before.server, lies)
    done.usages |= taken
    # Providers too: their inventories may be heard of later than the usages that changed with them.
    done.txn.unchanged(mapping).unchanged(provider).unchanged(cell)
    for uuid in resources:
        used_of = forest.nodes[uuid].stored
        assert used_of is not None
        done.txn.unchanged(used_of)
    operation = _operation(before, host, provider.value, claim.choice, now, default_zone)
    if lies:
        operation = evolve(operation, results={**operation.results, "topology": to_dict(lies)})
    allocation = Allocation(before.server, spec.project, spec.user, resources, now, group=spec.group)
    key = Global.OPERATIONS(shard_of(before.server), before.server)
    done.txn.at(key, claim.item.revision).put(key, operation)
    done.txn.create(Global.ALLOCATIONS(before.server), allocation)
    done.operations[before.server] = operation


def _taken(done: Claimed, forest: Forest, uuid: str, amounts: Amounts) -> Usages:
    node = forest.get(uuid)
    if node is None or node.stored is None or node.usages is None:
        raise CompareFailed(f"provider {uuid} has gone")
    used = done.usages.get(uuid, node.usages.value)
    if lacking(node.inventories, used.used, amounts):
        raise CompareFailed(f"{node.stored.value.name} was filled meanwhile")
    return with_claim(used, amounts)


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
