"""The names that resource classes and traits may have: the standard ones, and custom ones that are records."""

import re
from collections.abc import Iterable, Set
from typing import Any, Final

import os_resource_classes
import os_traits

from control.placement.reading import Reading
from kv.keys import Family, Global
from kv.txn import Txn
from schemas.placement import Erasures

STANDARD_TRAITS: Final[frozenset[str]] = frozenset(os_traits.get_traits())
STANDARD_CLASSES: Final[frozenset[str]] = frozenset(os_resource_classes.STANDARDS)

_PLACES: Final = {
    name: place for names in (os_traits.get_traits(), os_resource_classes.STANDARDS) for place, name in enumerate(names)
}
"""of standard names in their libraries' tables, which is the order in which Placement has them in its database"""

CUSTOM: Final = re.compile(r"\ACUSTOM_[A-Z0-9_]+\Z")
LONGEST: Final = 255

ERASURES: Final = Global.ERASURES("custom")
"""The one key of its family"""


def is_custom(name: str) -> bool:
    """Whether a trait or class may be made with this name."""
    return len(name) <= LONGEST and CUSTOM.match(name) is not None


def unknown_traits(reading: Reading, names: Iterable[str]) -> list[str]:
    """Those that do not exist, sorted."""
    return sorted(n for n in names if n not in STANDARD_TRAITS and reading.get(Global.TRAITS(n)) is None)


def unknown_classes(reading: Reading, names: Iterable[str]) -> list[str]:
    """Those that do not exist, in the order given."""
    return [n for n in names if n not in STANDARD_CLASSES and reading.get(Global.RESOURCE_CLASSES(n)) is None]


def in_order(reading: Reading, family: Family[Any], names: Iterable[str]) -> list[str]:
    """Traits or classes in the order of Placement's database: the standard ones as in their library, the custom ones
    as they were created."""

    def place(name: str) -> tuple[int, int, str]:
        if name in _PLACES:
            return 0, _PLACES[name], name
        stored = reading.get(family(name))
        return 1, stored.create_revision if stored else 0, name

    return sorted(names, key=place)


def begin_use(reading: Reading, txn: Txn, names: Set[str]) -> None:
    """Adds to a transaction that makes a provider use these traits or classes, which exist, what keeps the custom ones
    from being deleted meanwhile; names that the provider used before need not be given."""
    custom = {n for n in names if n not in STANDARD_TRAITS and n not in STANDARD_CLASSES}
    if not custom:
        return
    erasures = reading.get(ERASURES)
    if erasures is None:
        txn.absent(ERASURES)
    elif erasures.value.names & custom:
        txn.replace(erasures, Erasures(erasures.value.names - custom))
    else:
        txn.unchanged(erasures)
