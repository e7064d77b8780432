"""Custom traits and resource classes: made, and deleted so that nobody can begin to use one meanwhile.

A deletion takes three steps (the record `Erasures` tells why): `mark` the name, look whether a provider that is known
by then uses it, `erase` it or `unmark` it.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from attrs import frozen

from control.placement.reading import Reading
from control.placement.vocabulary import ERASURES, STANDARD_CLASSES, STANDARD_TRAITS
from kv.keys import Family, Global
from kv.txn import Txn
from schemas.errors import ConcurrentUpdate, NotFound
from schemas.placement import Erasures, ResourceClass, Trait


@frozen
class Kind:
    """Traits or resource classes."""

    family: Family[Any]
    record: Callable[[str, datetime], Any]
    standard: frozenset[str]
    missing: str
    """what is said of one that does not exist"""

    def exists(self, reading: Reading, name: str) -> bool:
        return name in self.standard or reading.get(self.family(name)) is not None

    def demand(self, reading: Reading, name: str) -> None:
        """Raises NotFound."""
        if not self.exists(reading, name):
            raise NotFound(self.missing.format(name))


TRAITS: Final = Kind(Global.TRAITS, Trait, STANDARD_TRAITS, "No such trait(s): {}.")
CLASSES: Final = Kind(Global.RESOURCE_CLASSES, ResourceClass, STANDARD_CLASSES, "No such resource class {}.")


def create(reading: Reading, kind: Kind, name: str, now: datetime) -> tuple[Txn, bool]:
    """Whether it is new. One that is there loses its mark: somebody counts on it."""
    txn = Txn("create name")
    stored = reading.get(kind.family(name))
    if stored is None:
        return txn.create(kind.family(name), kind.record(name, now)), True
    erasures = reading.get(ERASURES)
    if erasures is not None and name in erasures.value.names:
        txn.unchanged(stored).replace(erasures, Erasures(erasures.value.names - {name}))
    return txn, False


def mark(reading: Reading, kind: Kind, name: str) -> Txn:
    """Raises NotFound."""
    kind.demand(reading, name)
    erasures = reading.get(ERASURES)
    if erasures is None:
        return Txn("mark name").create(ERASURES, Erasures(frozenset({name})))
    return Txn("mark name").replace(erasures, Erasures(erasures.value.names | {name}))


def unmark(reading: Reading, name: str) -> Txn:
    erasures = reading.get(ERASURES)
    if erasures is None or name not in erasures.value.names:
        return Txn("unmark name")
    return Txn("unmark name").replace(erasures, Erasures(erasures.value.names - {name}))


def erase(reading: Reading, kind: Kind, name: str) -> Txn:
    """Raises NotFound, ConcurrentUpdate when the mark is gone: somebody began to use it."""
    stored = reading.get(kind.family(name))
    if stored is None:
        raise NotFound(kind.missing.format(name))
    erasures = reading.get(ERASURES)
    if erasures is None or name not in erasures.value.names:
        raise ConcurrentUpdate(f"{name} was used while it was about to be deleted")
    return Txn("erase name").remove(stored).replace(erasures, Erasures(erasures.value.names - {name}))
