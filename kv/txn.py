"""A guarded transaction: what it was decided on, and what it changes."""

from typing import Any, Final, Generic, TypeVar

from attrs import define, field, frozen

from kv.keys import Key
from schemas.codec import dumps

R = TypeVar("R")

MAX_BYTES: Final = 1 << 20
"""of a transaction's records; etcd takes 1.5 MiB with what is around them"""
MAX_OPERATIONS: Final = 128
"""etcd's default --max-txn-ops"""


@frozen
class Stored(Generic[R]):
    """A record as it was read. `mod_revision` is what a later transaction compares."""

    key: Key[R]
    value: R
    mod_revision: int
    create_revision: int
    lease: int = 0


@frozen
class Write:
    path: str
    data: bytes | None
    """None deletes"""
    lease: int = 0
    value: Any = None
    """what `data` holds"""


@define
class Txn:
    """Collects compares and writes; `Store.commit` applies all or nothing.

    `purpose` labels its metrics: one word or two, such as `claim`.
    """

    purpose: str
    revisions: dict[str, int] = field(factory=dict)
    """path -> mod-revision that it must still have; 0: it must not exist"""
    writes: dict[str, Write] = field(factory=dict)
    revision: int = 0
    """at which it was committed; 0: not, or not known"""

    @property
    def width(self) -> int:
        """Operations, as etcd counts them."""
        return max(len(self.revisions), len(self.writes))

    @property
    def fits(self) -> bool:
        """Whether etcd takes it, with its default limits."""
        return self.width <= MAX_OPERATIONS and self.size <= MAX_BYTES

    @property
    def size(self) -> int:
        """Bytes of what is written."""
        return sum(len(write.path) + len(write.data or b"") for write in self.writes.values())

    def include(self, other: "Txn") -> "Txn":
        """Adds all that another one compares and writes."""
        self.revisions |= other.revisions
        self.writes |= other.writes
        return self

    def absent(self, key: Key[R]) -> "Txn":
        self.revisions[key.path] = 0
        return self

    def unchanged(self, stored: Stored[R]) -> "Txn":
        self.revisions[stored.key.path] = stored.mod_revision
        return self

    def at(self, key: Key[R], revision: int) -> "Txn":
        """The key still has this mod-revision; 0: it is absent."""
        self.revisions[key.path] = revision
        return self

    def put(self, key: Key[R], value: R, lease: int = 0) -> "Txn":
        self.writes[key.path] = Write(key.path, dumps(value), lease, value)
        return self

    def delete(self, key: Key[R]) -> "Txn":
        self.writes[key.path] = Write(key.path, None)
        return self

    def create(self, key: Key[R], value: R, lease: int = 0) -> "Txn":
        return self.absent(key).put(key, value, lease)

    def replace(self, stored: Stored[R], value: R) -> "Txn":
        return self.unchanged(stored).put(stored.key, value, stored.lease)

    def remove(self, stored: Stored[R]) -> "Txn":
        return self.unchanged(stored).delete(stored.key)
