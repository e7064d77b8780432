"""Sets of names as bits: what 10,000 providers with 100 traits each can be remembered by. Pure."""

from collections.abc import Iterable
from functools import lru_cache
from sys import intern

import orjson

from control.placement.bits import Bits, members_of

REMEMBERED = 4096
"""Sets whose names are kept at hand: a hundred names are 3 kB."""


class NameSets:
    """Numbers each name when it is first seen; a number is never given again."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []
        self.names = lru_cache(REMEMBERED)(self._spell)
        """the names of a set, sorted"""
        self.json = lru_cache(REMEMBERED)(self._write)
        """the same as a JSON list"""

    def bits(self, names: Iterable[str]) -> Bits:
        """The set of these names; unknown ones become known."""
        found = 0
        for name in names:
            number = self._numbers.get(name)
            if number is None:
                number = self._numbers[intern(name)] = len(self._names)
                self._names.append(name)
            found |= 1 << number
        return found

    def known(self, names: Iterable[str]) -> Bits:
        """The set of those of the names that are known."""
        found = 0
        for name in names:
            number = self._numbers.get(name)
            if number is not None:
                found |= 1 << number
        return found

    def _spell(self, bits: Bits) -> tuple[str, ...]:
        return tuple(sorted(self._names[number] for number in members_of(bits)))

    def _write(self, bits: Bits) -> bytes:
        return orjson.dumps(self._spell(bits))
