"""Inventories and what is used of them, one row a provider, as numpy columns. Pure."""

from typing import Final

import numpy as np

from control.placement.bits import Mask
from schemas.placement import Inventory

NOT_OFFERED: Final = -1
HUGE: Final = 2**62
"""A capacity beyond counts as this: it still fits the column, and no use of it does come near."""

MOST: Final = 2**31 - 1
"""The largest max_unit that there can be"""


class Column:
    """One resource class over all rows."""

    def __init__(self, size: int) -> None:
        self.capacity = np.zeros(size, dtype=np.int64)
        self.used = np.zeros(size, dtype=np.int64)
        self.room = np.full(size, NOT_OFFERED, dtype=np.int64)
        """the most that one allocation may take now, by capacity and max_unit; negative where it is not offered"""
        self.least = np.ones(size, dtype=np.int32)
        """min_unit"""
        self.step = np.ones(size, dtype=np.int32)
        self._ruled: set[int] = set()
        """rows whose min_unit or step_size is not 1"""

    def fits(self, amount: int) -> Mask:
        """Where one allocation may take `amount`, which is positive."""
        if amount > MOST:
            return np.zeros(len(self.room), dtype=np.bool_)
        found: Mask = self.room >= amount
        if self._ruled:
            found &= (self.least <= amount) & (amount % self.step == 0)
        return found

    def set(self, row: int, inventory: Inventory | None, used: int) -> None:
        """None: not offered there."""
        self.used[row] = used
        if inventory is None:
            self.capacity[row], self.room[row] = 0, NOT_OFFERED
            self.least[row] = self.step[row] = 1
            self._ruled.discard(row)
            return
        capacity = min(inventory.capacity, HUGE)
        self.capacity[row] = capacity
        self.room[row] = min(max(capacity - used, 0), inventory.max_unit)
        self.least[row], self.step[row] = inventory.min_unit, inventory.step_size
        if inventory.min_unit == inventory.step_size == 1:
            self._ruled.discard(row)
        else:
            self._ruled.add(row)

    def grown(self, size: int) -> "Column":
        bigger = Column(size)
        for name in ("capacity", "used", "room", "least", "step"):
            getattr(bigger, name)[: len(self.room)] = getattr(self, name)
        bigger._ruled = self._ruled
        return bigger


class Columns:
    """All classes that were ever offered."""

    def __init__(self) -> None:
        self.size = 0
        """rows that the columns are long; more than are in use"""
        self._columns: dict[str, Column] = {}

    def get(self, name: str) -> Column | None:
        return self._columns.get(name)

    def set(self, row: int, name: str, inventory: Inventory | None, used: int) -> None:
        column = self._columns.get(name)
        if column is None:
            if inventory is None and not used:
                return
            column = self._columns[name] = Column(self.size)
        column.set(row, inventory, used)

    def grow(self, size: int) -> None:
        self.size = size
        self._columns = {name: column.grown(size) for name, column in self._columns.items()}

    def fits(self, resources: dict[str, int]) -> Mask:
        """Where all of these amounts may be taken at once; where no class is asked for: everywhere."""
        found: Mask = np.ones(self.size, dtype=np.bool_)
        for name, amount in resources.items():
            column = self._columns.get(name)
            if column is None:
                return np.zeros(self.size, dtype=np.bool_)
            found &= column.fits(amount)
        return found
