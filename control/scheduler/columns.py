"""Named numpy columns over the hosts' rows."""

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

Column = np.ndarray[Any, Any]


class Columns:
    """A column exists from its first write on; before that it reads as zeros. All are `rows` long."""

    def __init__(self, dtype: DTypeLike) -> None:
        self.rows = 0
        self._dtype = np.dtype(dtype)
        self._columns: dict[str, Column] = {}
        self._zeros = np.zeros(0, self._dtype)

    def __getitem__(self, name: str) -> Column:
        """A view: do not write to it."""
        return self._columns.get(name, self._zeros)[: self.rows]

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def add_row(self) -> None:
        self.rows += 1
        if self.rows > len(self._zeros):
            length = max(64, 2 * len(self._zeros))
            self._zeros = np.zeros(length, self._dtype)
            self._columns = {name: _longer(column, length) for name, column in self._columns.items()}

    def set(self, name: str, row: int, value: float) -> None:
        column = self._columns.get(name)
        if column is None:
            if not value:
                return
            column = self._columns[name] = self._zeros.copy()
        column[row] = value

    def replace(self, row: int, before: Collection[str], after: Collection[str]) -> None:
        """For columns of booleans that stand for sets: the row leaves those of `before` and joins those of `after`."""
        for name in before:
            if name not in after:
                self.set(name, row, False)
        for name in after:
            self.set(name, row, True)

    def any_of(self, names: Collection[str]) -> Column:
        """Rows that are true in at least one of these columns."""
        found = np.zeros(self.rows, np.bool_)
        for name in names:
            found |= self[name]
        return found


def _longer(column: Column, length: int) -> Column:
    grown = np.zeros(length, column.dtype)
    grown[: len(column)] = column
    return grown
