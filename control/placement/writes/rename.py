"""Another name for a custom resource class, as PUT gave it until 1.6: everywhere at once, or not at all."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final, TypeVar

from attrs import evolve

from control.placement.reading import Reading
from control.placement.vocabulary import ERASURES
from control.placement.writes.names import CLASSES
from control.placement.writes.providers import change, find
from kv.keys import Global
from kv.txn import Txn
from schemas.errors import ConcurrentUpdate, Conflict
from schemas.placement import Erasures, ResourceClass

V = TypeVar("V")

MOST: Final = 40
"""Providers and consumers whose records one transaction rewrites: two and one each, and etcd takes 128."""


def rename(
    reading: Reading, name: str, wanted: str, providers: Collection[str], consumers: Collection[str], now: datetime
) -> Txn:
    """`providers` and `consumers` are all that use the name, which was marked before they were looked for.

    Raises NotFound, Conflict, ConcurrentUpdate when the mark is gone.
    """
    CLASSES.demand(reading, name)
    if CLASSES.exists(reading, wanted):
        raise Conflict(f"Resource class already exists: {wanted}")
    if len(providers) + len(consumers) > MOST:
        raise Conflict(
            f"Resource class {name} is used by {len(providers)} providers and {len(consumers)} consumers: make "
            f"{wanted} and reshape them"
        )
    erasures, old = reading.get(ERASURES), reading.get(Global.RESOURCE_CLASSES(name))
    assert old is not None
    if erasures is None or name not in erasures.value.names:
        raise ConcurrentUpdate(f"{name} began to be used while it was about to be renamed")
    txn = Txn("rename class").remove(old).create(Global.RESOURCE_CLASSES(wanted), ResourceClass(wanted, now))
    txn.replace(erasures, Erasures(erasures.value.names - {name}))
    for uuid in providers:
        found = find(reading, uuid)
        before = found.provider.value
        changed, _ = change("", found, evolve(before, inventories=_renamed(before.inventories, name, wanted)), now)
        usages = changed.writes[found.usages.key.path].value
        txn.replace(found.provider, changed.writes[found.provider.key.path].value)
        txn.replace(found.usages, evolve(usages, used=_renamed(usages.used, name, wanted)))
    for consumer in consumers:
        stored = reading.get(Global.ALLOCATIONS(consumer))
        if stored is None:
            txn.absent(Global.ALLOCATIONS(consumer))
        else:
            held = {uuid: _renamed(amounts, name, wanted) for uuid, amounts in stored.value.resources.items()}
            txn.replace(stored, evolve(stored.value, resources=held))
    return txn


def _renamed(named: Mapping[str, V], name: str, wanted: str) -> dict[str, V]:
    return {wanted if key == name else key: value for key, value in named.items()}
