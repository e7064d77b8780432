"""Sets of rows as Python integers: row r is in the set when bit r is set. Small, immutable, quick to combine. Pure."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

Bits = int
Mask = NDArray[np.bool_]
"""one truth a row"""


def mask_of(bits: Bits, size: int) -> Mask:
    """The set as `size` booleans."""
    octets = np.frombuffer(bits.to_bytes((size + 7) // 8, "little"), dtype=np.uint8)
    return np.unpackbits(octets, count=size, bitorder="little").view(np.bool_)


def members_of(bits: Bits) -> Iterator[int]:
    """In ascending order."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


def union(sets: Iterable[Bits]) -> Bits:
    found = 0
    for bits in sets:
        found |= bits
    return found


class RowSets:
    """Which rows bear a name: those with a trait, those in an aggregate."""

    def __init__(self) -> None:
        self._rows: dict[str, Bits] = {}

    def __getitem__(self, name: str) -> Bits:
        return self._rows.get(name, 0)

    def names(self) -> list[str]:
        """Those that some row bears."""
        return list(self._rows)

    def move(self, row: int, before: Iterable[str], after: Iterable[str]) -> None:
        """The row bears the names `after` and no longer those of `before` that are not among them."""
        old, new, bit = frozenset(before), frozenset(after), 1 << row
        for name in new - old:
            self._rows[name] = self._rows.get(name, 0) | bit
        for name in old - new:
            left = self._rows[name] & ~bit
            if left:
                self._rows[name] = left
            else:
                del self._rows[name]
