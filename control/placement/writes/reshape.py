"""Inventories and the allocations on them moved from provider to provider, all at once."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from attrs import evolve, frozen

from control.placement.reading import Reading
from control.placement.vocabulary import begin_use, unknown_classes
from control.placement.writes import allocations
from control.placement.writes.allocations import Claim, Guard, left_behind
from control.placement.writes.providers import find
from kv.keys import Global
from kv.txn import Txn
from schemas.errors import ConcurrentUpdate, NotFound, UnknownProvider
from schemas.placement import Inventory, Usages


@frozen
class Offer:
    """All that a provider shall offer from now on."""

    generation: int
    inventories: Mapping[str, Inventory]


def reshape(
    reading: Reading,
    offers: Mapping[str, Offer],
    claims: Sequence[Claim],
    now: datetime,
    guards: Iterable[Guard] = (),
) -> Txn:
    """Claims may use what a provider offers now or shall offer, since both hold for a moment; what is left allocated in
    the end must be offered.

    Raises UnknownProvider, ConcurrentUpdate, NotFound for an unknown class, InventoryInUse, and what
    `allocations.replace` raises.
    """
    for uuid, offer in offers.items():
        _check_offer(reading, uuid, offer)
    interim = {
        uuid: {**find(reading, uuid).provider.value.inventories, **offer.inventories} for uuid, offer in offers.items()
    }
    # Names first: an unknown class is no conflict.
    unknown = unknown_classes(reading, (name for offer in offers.values() for name in offer.inventories))
    if unknown:
        raise NotFound(f"No such resource class {unknown[0]}.")
    txn = allocations.replace(reading, claims, now, guards, interim)
    for uuid, offer in offers.items():
        found = find(reading, uuid)
        write = txn.writes.get(found.usages.key.path)
        usages = write.value if write else found.usages.value
        assert isinstance(usages, Usages)
        left_behind(reading, uuid, usages.used, offer.inventories)
        # Placement counts each of its steps: what is offered meanwhile, what is claimed, what is offered in the end.
        steps = bool(offer.inventories) + 1
        usages = evolve(usages, generation=usages.generation + steps, updated=now)
        before = found.provider.value
        after = evolve(before, inventories=dict(offer.inventories))
        txn.replace(found.usages, usages).replace(found.provider, after)
        begin_use(reading, txn, offer.inventories.keys() - before.inventories.keys())
    return txn


def _check_offer(reading: Reading, uuid: str, offer: Offer) -> None:
    if reading.get(Global.PROVIDERS(uuid)) is None:
        raise UnknownProvider(
            f"Resource provider {uuid} in inventories not found: No resource provider with uuid {uuid} found"
        )
    actual = find(reading, uuid).generation
    if actual != offer.generation:
        raise ConcurrentUpdate(
            f"resource provider generation conflict for provider {uuid}: actual: {actual}, given: {offer.generation}"
        )
