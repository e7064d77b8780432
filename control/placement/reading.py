"""What a writer decides on: records by key, from a view that may be a moment old or from a linearizable read."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from kv.keys import Key
from kv.txn import Stored, Txn

R = TypeVar("R")


class Known(Protocol):
    """A copy of placement's records, kept by watches, as writers use it."""

    def get(self, key: Key[R], *, whole: bool = True) -> Stored[R] | None:
        """The record as last heard of; None: there is none. Unless it is to be `whole`, what takes time to find may be
        left out of it. Raises KeyError for records that it does not follow."""

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

    def get(self, key: Key[R], *, whole: bool = True) -> Stored[R] | None:
        """`whole`: with a provider's traits, for whoever writes it again."""
        self.asked[key.path] = key
        if key.path in self._read:
            return self._read[key.path]
        if self._known is None:
            raise NotRead
        try:
            return self._known.get(key, whole=whole)
        except KeyError:
            raise NotRead from None

    @property
    def fresh(self) -> bool:
        return self._read.keys() >= self.asked.keys()


class Pending:
    """Decisions that are to be committed as one transaction, each taken on what the ones before leave."""

    def __init__(self) -> None:
        self.txn = Txn("several writes")
        self._left: dict[str, Stored[Any] | None] = {}

    def on(self, reading: Reading) -> Reading:
        """The reading as the transaction will leave it."""
        return _After(reading, self._left)

    def add(self, txn: Txn) -> None:
        for path, revision in txn.revisions.items():
            if path not in self._left:  # else it was decided on what this transaction itself writes
                self.txn.revisions[path] = revision
        for path, write in txn.writes.items():
            self.txn.writes[path] = write
            gone = write.data is None
            self._left[path] = None if gone else Stored(Key(path, type(write.value)), write.value, -1, -1, write.lease)


class _After(Reading):
    def __init__(self, reading: Reading, left: Mapping[str, Stored[Any] | None]) -> None:
        super().__init__(None)
        self._before = reading
        self._left = left

    def get(self, key: Key[R], *, whole: bool = True) -> Stored[R] | None:
        return self._left[key.path] if key.path in self._left else self._before.get(key, whole=whole)
