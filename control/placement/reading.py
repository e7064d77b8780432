"""What a writer decides on: records by key, from a view that may be a moment old or from a linearizable read."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from kv.keys import Key
from kv.txn import Stored, Txn

R = TypeVar("R")


class Known(Protocol):
    """A copy of placement's records, kept by watches, as writers use it."""

    def get(self, key: Key[R]) -> Stored[R] | None:
        """The record as last heard of; None: there is none. Raises KeyError for records that it does not follow."""

    def learn(self, txn: Txn) -> None:
        """What the own transaction wrote, before the watch tells."""

    async def wait_until(self, revision: int) -> None:
        """Returns when the copy holds every write up to `revision`."""


class NotRead(Exception):
    """A key is asked for that has not been read and of which no view knows."""


class Reading:
    """Answers `get` and remembers what was asked, so that it can be read again when the decision is lost.

    `read` are records by path from a linearizable read and win over the view: who decides on them alone decides on the
    present. `fresh` says that this is so for all that was asked.
    """

    def __init__(self, known: Known | None, read: Mapping[str, Stored[Any] | None] | None = None) -> None:
        self._known = known
        self._read = read or {}
        self.asked: dict[str, Key[Any]] = {}

    def get(self, key: Key[R]) -> Stored[R] | None:
        self.asked[key.path] = key
        if key.path in self._read:
            return self._read[key.path]
        if self._known is None:
            raise NotRead
        try:
            return self._known.get(key)
        except KeyError:
            raise NotRead from None

    @property
    def fresh(self) -> bool:
        return self._read.keys() >= self.asked.keys()
