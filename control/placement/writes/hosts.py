"""The provider of a host as its agent reports it, in Nova's shape: named as the hypervisor, with its traits.

What operators and other services gave the provider stays: aggregates, a parent, traits that are no host's own, and
inventory of other classes.
"""

from collections.abc import Mapping, Set
from datetime import datetime
from typing import Any, Final

from attrs import evolve, frozen

from control.placement.reading import Reading
from control.placement.vocabulary import STANDARD_TRAITS, begin_use
from control.placement.writes import providers
from control.placement.writes.providers import Found, change
from kv.keys import Global, Key
from kv.txn import Txn
from schemas.errors import DuplicateName
from schemas.identity import NameIndex
from schemas.placement import Inventory, Provider, Trait, Usages

OWN: Final = ("COMPUTE_", "HW_")
"""What the names of traits begin with that a host reports, or takes away by no longer reporting them"""
PROCESSORS: Final = ("VCPU", "PCPU")
"""the resource classes of which a host may have none"""


@frozen
class Report:
    """What a host says of itself."""

    uuid: str
    name: str
    """of the hypervisor"""
    host: str
    cell: str
    inventories: Mapping[str, Inventory]
    traits: Set[str]

    @property
    def keys(self) -> list[Key[Any]]:
        """What a decision about it looks at, mostly."""
        return [Global.PROVIDERS(self.uuid), Global.USAGES(self.uuid), Global.PROVIDER_NAMES(self.name)]


def report(reading: Reading, said: Report, now: datetime) -> Txn:
    """Writes nothing when the provider is right. Raises DuplicateName when another provider has its name."""
    provider, usages = reading.get(Global.PROVIDERS(said.uuid)), reading.get(Global.USAGES(said.uuid))
    if provider is None or usages is None:
        return _made(reading, said, now)
    before = provider.value
    own = {name for name in before.traits if name.startswith(OWN)}
    after = evolve(
        before,
        name=said.name,
        host=said.host,
        cell=said.cell,
        inventories=_inventories(before.inventories, said, usages.value),
        traits=(before.traits - own) | said.traits,
    )
    if after == before:
        return Txn("report host")
    txn, _ = change("report host", Found(provider, usages), after, now)
    if after.name != before.name:
        _name(reading, txn, said)
        txn.delete(Global.PROVIDER_NAMES(before.name))
    _begin(reading, txn, after.traits - before.traits, now)
    return txn


def _inventories(before: Mapping[str, Inventory], said: Report, usages: Usages) -> dict[str, Inventory]:
    """Processors that a host no longer offers are gone; those that servers still hold stay, and no more are given."""
    kept = {name: inventory for name, inventory in before.items() if name not in PROCESSORS}
    held = {
        name: evolve(before[name], reserved=before[name].total)
        for name in PROCESSORS
        if name in before and usages.used.get(name)
    }
    return {**kept, **held, **said.inventories}


def _made(reading: Reading, said: Report, now: datetime) -> Txn:
    new = Provider(
        uuid=said.uuid,
        name=said.name,
        inventories=dict(said.inventories),
        traits=frozenset(said.traits),
        host=said.host,
        cell=said.cell,
        updated=now,
    )
    if reading.get(Global.PROVIDER_NAMES(said.name)) is not None:
        _check_name(reading, said)
    txn = providers.create(reading, new)
    _begin(reading, txn, new.traits, now)
    return txn


def _name(reading: Reading, txn: Txn, said: Report) -> None:
    _check_name(reading, said)
    txn.create(Global.PROVIDER_NAMES(said.name), NameIndex(said.uuid))


def _check_name(reading: Reading, said: Report) -> None:
    taken = reading.get(Global.PROVIDER_NAMES(said.name))
    if taken is not None:
        raise DuplicateName(
            f"host {said.host} is the resource provider {said.uuid} now, but {taken.value.id} has its name "
            f"{said.name}: delete that one (openstack resource provider delete {taken.value.id})"
        )


def _begin(reading: Reading, txn: Txn, traits: Set[str], now: datetime) -> None:
    """A host may bear traits that nobody has made yet."""
    for name in sorted(traits - STANDARD_TRAITS):
        if reading.get(Global.TRAITS(name)) is None:
            txn.create(Global.TRAITS(name), Trait(name, now))
    begin_use(reading, txn, traits)
