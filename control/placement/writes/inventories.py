"""What a provider offers."""

from collections.abc import Callable, Mapping
from datetime import datetime

from attrs import evolve

from control.placement.reading import Reading
from control.placement.vocabulary import begin_use, in_order, unknown_classes
from control.placement.writes.providers import Found, change, find
from kv.keys import Global
from kv.txn import Txn
from schemas.errors import BadRequest, ConcurrentUpdate, InventoryInUse, KilonovaError, NotFound
from schemas.placement import Inventory

Inventories = Mapping[str, Inventory]


def replace(
    reading: Reading, uuid: str, generation: int | None, inventories: Inventories, now: datetime, *, reserve_all: bool
) -> tuple[Txn, int]:
    """All of them at once; the new generation. `generation` None is not compared. `reserve_all` lets everything be
    reserved.

    Raises NotFound, ConcurrentUpdate, BadRequest for unknown classes or no capacity, InventoryInUse.
    """
    found = find(reading, uuid)
    _check_generation(found, generation)
    for name, inventory in inventories.items():
        _check_capacity(uuid, name, inventory, "update", reserve_all=reserve_all)
    unknown = unknown_classes(reading, inventories)
    if unknown:
        raise BadRequest(
            f"Unknown resource class in inventory for resource provider {uuid}: No such resource class {unknown[0]}."
        )
    check_removed(reading, found, inventories, lambda text: InventoryInUse(f"update conflict: {text}"))
    return _changed(reading, found, inventories, now)


def add(
    reading: Reading, uuid: str, name: str, inventory: Inventory, now: datetime, *, reserve_all: bool
) -> tuple[Txn, int]:
    """One that is not there yet. Raises NotFound, BadRequest, ConcurrentUpdate when it is there."""
    found = find(reading, uuid)
    _check_capacity(uuid, name, inventory, "create", reserve_all=reserve_all)
    if unknown_classes(reading, [name]):
        raise BadRequest(f"Unable to create inventory for resource provider {uuid}: No such resource class {name}.")
    if name in found.provider.value.inventories:
        raise ConcurrentUpdate(f"Update conflict: Inventory of class {name} already exists.")
    return _changed(reading, found, {**found.provider.value.inventories, name: inventory}, now)


def update(
    reading: Reading, uuid: str, generation: int, name: str, inventory: Inventory, now: datetime, *, reserve_all: bool
) -> tuple[Txn, int]:
    """One that is there. Raises NotFound for an unknown provider or class, ConcurrentUpdate, BadRequest when it is not
    there."""
    found = find(reading, uuid)
    _check_generation(found, generation)
    _check_capacity(uuid, name, inventory, "update", reserve_all=reserve_all)
    if unknown_classes(reading, [name]):
        raise NotFound(f"No such resource class {name}.")
    if name not in found.provider.value.inventories:
        raise BadRequest(
            f"No inventory record with resource class for resource provider {uuid}: No inventory of class {name} found."
        )
    return _changed(reading, found, {**found.provider.value.inventories, name: inventory}, now)


def remove(reading: Reading, uuid: str, name: str, now: datetime) -> tuple[Txn, int]:
    """Raises NotFound, ConcurrentUpdate when it is in use: so Placement calls it here."""
    found = find(reading, uuid)
    prefix = f"No inventory of class {name} found for delete"
    if unknown_classes(reading, [name]):
        raise NotFound(f"{prefix}: No such resource class {name}.")
    if name not in found.provider.value.inventories:
        raise NotFound(f"{prefix}: {prefix}")
    left = {n: i for n, i in found.provider.value.inventories.items() if n != name}
    check_removed(
        reading, found, left, lambda text: ConcurrentUpdate(f"Unable to delete inventory of class {name}: {text}")
    )
    return _changed(reading, found, left, now)


def clear(reading: Reading, uuid: str, now: datetime) -> tuple[Txn, int]:
    """Raises NotFound, InventoryInUse."""
    found = find(reading, uuid)
    check_removed(reading, found, {}, InventoryInUse)
    return _changed(reading, found, {}, now)


def check_removed(
    reading: Reading, found: Found, inventories: Inventories, refusal: Callable[[str], KilonovaError]
) -> None:
    """Raises the refusal when a class that is used would go."""
    lost = in_order(reading, Global.RESOURCE_CLASSES, (n for n in found.usages.value.used if n not in inventories))
    if lost:
        raise refusal(f"Inventory for '{', '.join(lost)}' on resource provider '{found.provider.value.uuid}' in use.")


def _changed(reading: Reading, found: Found, inventories: Inventories, now: datetime) -> tuple[Txn, int]:
    before = found.provider.value
    txn, generation = change("set inventory", found, evolve(before, inventories=dict(inventories)), now)
    begin_use(reading, txn, inventories.keys() - before.inventories.keys())
    return txn, generation


def _check_generation(found: Found, generation: int | None) -> None:
    if generation is not None and generation != found.generation:
        raise ConcurrentUpdate("resource provider generation conflict")


def _check_capacity(uuid: str, name: str, inventory: Inventory, verb: str, *, reserve_all: bool) -> None:
    if inventory.capacity < 0 or (inventory.capacity == 0 and not reserve_all):
        than = "greater than" if reserve_all else "greater than or equal to"
        raise BadRequest(
            f"Unable to {verb} inventory for resource provider {uuid}: Invalid inventory for '{name}' on resource "
            f"provider '{uuid}'. The reserved value is {than} total."
        )
