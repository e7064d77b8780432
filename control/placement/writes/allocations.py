"""What consumers hold. All doors that change allocations come through here: one set of rules, one transaction."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, Literal

from attrs import define, evolve, field, frozen

from control.placement.reading import Reading
from control.placement.resources import Amounts
from control.placement.topology import without_topology
from control.placement.vocabulary import in_order, unknown_classes
from control.placement.writes.providers import Found, find
from kv.keys import Global
from kv.txn import Stored, Txn
from schemas.errors import BadRequest, ConcurrentUpdate, Conflict, InventoryInUse, NotFound
from schemas.placement import Allocation, Inventory

INCOMPLETE: Final = "00000000-0000-0000-0000-000000000000"
"""Project and user of a consumer whose client, older than 1.8, named none"""

ANY: Final = "any"
"""The generation is not compared."""


@frozen
class Claim:
    """All that a consumer shall hold from now on; empty `resources` end it."""

    consumer: str
    resources: Mapping[str, Amounts]
    project: str = INCOMPLETE
    user: str = INCOMPLETE
    type: str | None = None
    """None: it keeps the one that it has"""
    generation: int | Literal["any"] | None = ANY
    """None: it must not exist yet"""
    group: str | None = None
    """the server group that it is a member of, where its allocation does not say; None: no other than that says"""


Guard = Callable[[Reading, Txn, Allocation | None, Allocation | None], None]
"""Looks at one consumer's allocation before and after; raises Conflict, or adds to the transaction what its consent
stands on. Runs in every transaction that writes allocations, whichever door it comes through."""


@define(eq=False)
class _Ledger:
    """The providers that a change touches: their usages before, without what its consumers held, and after."""

    reading: Reading
    found: dict[str, Found] = field(factory=dict)
    without: dict[str, Amounts] = field(factory=dict)
    added: dict[str, Amounts] = field(factory=dict)
    leaving: dict[str, set[str]] = field(factory=dict)
    """the consumers that hold nothing of it any more"""
    missing: set[str] = field(factory=set)
    raised: set[str] = field(factory=set)
    """those whose generation rises: as in Placement not those that are merely given back"""

    def touch(self, uuid: str) -> Found:
        if uuid not in self.found:
            self.found[uuid] = find(self.reading, uuid, whole=False)  # it is compared, not written
            self.without[uuid] = dict(self.found[uuid].usages.value.used)
        return self.found[uuid]

    def take_back(self, consumer: str, resources: Mapping[str, Amounts], kept: Collection[str] = ()) -> None:
        """What a consumer held; it stays at the providers `kept`."""
        for uuid, amounts in resources.items():
            if uuid not in kept:
                self.leaving.setdefault(uuid, set()).add(consumer)
            try:
                self.touch(uuid)
            except NotFound:  # the view does not have it yet, or a hand in the store deleted what was used
                self.missing.add(uuid)
            else:
                _add(self.without[uuid], amounts, -1)

    def add(self, resources: Mapping[str, Amounts]) -> None:
        for uuid, amounts in resources.items():
            _add(self.added.setdefault(uuid, {}), amounts)
            self.raised.add(uuid)

    def used(self, uuid: str) -> dict[str, int]:
        """Afterwards; classes at zero disappear."""
        total = dict(self.without[uuid])
        _add(total, self.added.get(uuid, {}))
        return {name: amount for name, amount in total.items() if amount > 0}

    def write(self, txn: Txn, now: datetime) -> None:
        for uuid in self.missing:
            txn.absent(Global.USAGES(uuid))
        for uuid, found in self.found.items():
            before = without_topology(found.usages.value, self.leaving.get(uuid, ()))
            generation = found.generation + (uuid in self.raised)
            usages = evolve(before, used=self.used(uuid), generation=generation, updated=now)
            # The inventories are compared too: a view may hear of them later than of the usages.
            txn.unchanged(found.provider).replace(found.usages, usages)


def _add(total: Amounts, amounts: Amounts, sign: int = 1) -> None:
    for name, amount in amounts.items():
        total[name] = total.get(name, 0) + sign * amount


def replace(
    reading: Reading,
    claims: Sequence[Claim],
    now: datetime,
    guards: Iterable[Guard] = (),
    offers: Mapping[str, Mapping[str, Inventory]] | None = None,
) -> Txn:
    """Gives these consumers what they claim instead of all that they hold, all or nothing. `offers` are inventories
    of providers as they shall be, where they change in the same transaction.

    Raises ConcurrentUpdate for a consumer's generation, BadRequest for an unknown provider, NotFound for an unknown
    class, Conflict for what does not fit.
    """
    before = {claim.consumer: _consumer(reading, claim) for claim in claims}
    ledger = _Ledger(reading)
    for claim in claims:
        held = before[claim.consumer]
        if held is not None:
            ledger.take_back(claim.consumer, held.value.resources, claim.resources)
    for claim in claims:
        _check_providers(ledger, claim)
    for claim in claims:
        ledger.add(claim.resources)
        stored = before[claim.consumer]
        if stored is not None and not claim.resources:
            ledger.raised.update(stored.value.resources)
    for claim in claims:
        _check_fits(ledger, claim, offers or {})
    txn = Txn("allocate")
    for claim in claims:
        _write(reading, txn, before[claim.consumer], claim, now, guards)
    ledger.write(txn, now)
    return txn


def release(reading: Reading, consumer: str, now: datetime, guards: Iterable[Guard] = ()) -> Txn:
    """Takes everything from a consumer, whatever its generation. Raises NotFound."""
    stored = reading.get(Global.ALLOCATIONS(consumer))
    if stored is None:
        raise NotFound(f"No allocations for consumer '{consumer}'")
    txn = Txn("release").remove(stored)
    ledger = _Ledger(reading)
    ledger.take_back(consumer, stored.value.resources)
    ledger.write(txn, now)
    for guard in guards:
        guard(reading, txn, stored.value, None)
    return txn


def _consumer(reading: Reading, claim: Claim) -> Stored[Allocation] | None:
    stored = reading.get(Global.ALLOCATIONS(claim.consumer))
    actual = stored.value.generation if stored else None
    if claim.generation not in (ANY, actual):
        expected = "null" if actual is None else actual
        raise ConcurrentUpdate(f"consumer generation conflict - expected {expected} but got {claim.generation}")
    return stored


def _check_providers(ledger: _Ledger, claim: Claim) -> None:
    for uuid in claim.resources:
        try:
            ledger.touch(uuid)
        except NotFound:
            raise BadRequest(f"Allocation for resource provider '{uuid}' that does not exist.") from None


def _check_fits(ledger: _Ledger, claim: Claim, offers: Mapping[str, Mapping[str, Inventory]]) -> None:
    """Units and step for each amount, capacity for the sum; more than the capacity may stay, if it does not grow."""
    for uuid, amounts in claim.resources.items():
        found = ledger.found[uuid]
        inventories = offers.get(uuid, found.provider.value.inventories)
        if not any(name in inventories for name in amounts):
            _check_known(ledger.reading, amounts)
            raise Conflict(f"Inventory for '{', '.join(amounts)}' on resource provider '{uuid}' invalid.")
        for name, amount in amounts.items():
            inventory = inventories.get(name)
            if inventory is None:
                _check_known(ledger.reading, amounts)
                raise Conflict(f"Inventory for '{name}' on resource provider '{uuid}' invalid.")
            refused = f"Unable to create allocation for '{name}' on resource provider '{uuid}'. The requested amount"
            if not inventory.min_unit <= amount <= inventory.max_unit or amount % inventory.step_size:
                raise Conflict(f"{refused} would violate inventory constraints.")
            used = ledger.without[uuid].get(name, 0) + ledger.added[uuid][name]
            if used > inventory.capacity and used > found.usages.value.used.get(name, 0):
                raise Conflict(f"{refused} would exceed the capacity.")


def _check_known(reading: Reading, amounts: Amounts) -> None:
    unknown = unknown_classes(reading, amounts)
    if unknown:
        raise NotFound(f"No such resource class {unknown[0]}.")


def _write(
    reading: Reading,
    txn: Txn,
    before: Stored[Allocation] | None,
    claim: Claim,
    now: datetime,
    guards: Iterable[Guard],
) -> None:
    key = Global.ALLOCATIONS(claim.consumer)
    after = None
    if claim.resources:
        resources = {uuid: dict(amounts) for uuid, amounts in claim.resources.items()}
        if before is None:
            after = Allocation(
                claim.consumer, claim.project, claim.user, resources, now, type=claim.type, group=claim.group
            )
            txn.create(key, after)
        else:
            after = evolve(
                before.value,
                project=claim.project,
                user=claim.user,
                resources=resources,
                type=claim.type or before.value.type,
                group=before.value.group or claim.group,
                generation=before.value.generation + 1,
                updated=now,
            )
            txn.replace(before, after)
    elif before is not None:
        txn.remove(before)
    else:
        txn.absent(key)
    for guard in guards:
        guard(reading, txn, before.value if before else None, after)


def left_behind(reading: Reading, uuid: str, used: Mapping[str, int], inventories: Mapping[str, Inventory]) -> None:
    """Raises InventoryInUse when something stays allocated of a class that is not offered any more."""
    lost = in_order(reading, Global.RESOURCE_CLASSES, (name for name in used if name not in inventories))
    if lost:
        raise InventoryInUse(
            f"update conflict: Inventory for '{', '.join(lost)}' on resource provider '{uuid}' in use."
        )
