"""Keys with revisions and their history."""

from bisect import bisect_left, insort
from itertools import chain

from aetcd import rpc
from attrs import define

from kv.twin.refusals import COMPACTED, FUTURE, refused

EVERYTHING = b"\0"
"""as the end of a range: all keys from its start"""


@define(eq=False)
class Change:
    """One key written or, with `new` None, deleted. `old` is what it was before the whole transaction."""

    revision: int
    key: bytes
    new: rpc.KeyValue | None
    old: rpc.KeyValue | None


class Mvcc:
    """`put` and `delete` belong to one transaction until `commit` gives them a revision."""

    def __init__(self) -> None:
        self.revision = 1
        self.compacted = -1
        self._live: dict[bytes, rpc.KeyValue] = {}
        self._keys: list[bytes] = []
        """those of `_live` in order"""
        self._log: list[Change] = []
        """what was not compacted"""
        self._open: dict[bytes, rpc.KeyValue | None] = {}
        """keys of the transaction under way, as they were before it"""
        self._changes: list[Change] = []
        """of the transaction under way"""

    @property
    def seen(self) -> int:
        """The revision that a read within the transaction under way sees."""
        return self.revision + 1 if self._changes else self.revision

    def get(self, key: bytes) -> rpc.KeyValue | None:
        return self._live.get(key)

    def select(self, start: bytes, end: bytes) -> list[rpc.KeyValue]:
        """In the order of their keys. An empty `end` means the one key `start`."""
        if not end:
            found = self._live.get(start)
            return [] if found is None else [found]
        live = self._live
        return [live[key] for key in self._between(start, end)]

    def select_at(self, revision: int, start: bytes, end: bytes) -> list[rpc.KeyValue]:
        """As it was at an earlier revision. Raises the refusal of a compacted or future one."""
        self.check(revision)
        found = {kv.key: kv for kv in self.select(start, end)}
        for change in chain(reversed(self._changes), reversed(self._log)):
            if change.revision <= revision:
                break
            if within(change.key, start, end):
                if change.old is None:
                    found.pop(change.key, None)
                else:
                    found[change.key] = change.old
        return [found[key] for key in sorted(found)]

    def check(self, revision: int) -> None:
        """0 stands for the present."""
        if revision > self.seen:
            raise refused(FUTURE)
        if 0 < revision < self.compacted:
            raise refused(COMPACTED)

    def put(self, key: bytes, value: bytes, lease: int) -> rpc.KeyValue | None:
        """What it replaced."""
        live, revision = self._live, self.revision + 1
        old = live.get(key)
        if old is None:
            created, version = revision, 1
            insort(self._keys, key)
        else:
            created, version = old.create_revision, old.version + 1
        new = rpc.KeyValue(
            key=key, value=value, create_revision=created, mod_revision=revision, version=version, lease=lease
        )
        live[key] = new
        self._changes.append(Change(revision, key, new, self._open.setdefault(key, old)))
        return old

    def delete(self, start: bytes, end: bytes) -> list[rpc.KeyValue]:
        """What was deleted."""
        gone = self.select(start, end)
        revision = self.revision + 1
        for old in gone:
            del self._live[old.key]
            self._changes.append(Change(revision, old.key, None, self._open.setdefault(old.key, old)))
        if gone:
            first = bisect_left(self._keys, gone[0].key)
            del self._keys[first : first + len(gone)]
        return gone

    def commit(self) -> list[Change]:
        """Ends the transaction; with changes it takes the next revision."""
        changes = self._changes
        if changes:
            self.revision += 1
            self._log += changes
            self._changes, self._open = [], {}
        return changes

    def since(self, revision: int) -> list[Change]:
        return self._log[bisect_left(self._log, revision, key=_revision) :]

    def compact(self, revision: int) -> None:
        """Forgets what was overwritten or deleted before `revision`. Raises the refusal of one that is compacted
        already or future."""
        if revision <= self.compacted:
            raise refused(COMPACTED)
        if revision > self.revision:
            raise refused(FUTURE)
        self.compacted = revision
        kept = self.since(revision)
        at = bisect_left(kept, revision + 1, key=_revision)
        last = {change.key: change for change in kept[:at]}  # etcd keeps each key's last change at the revision itself
        self._log = [*last.values(), *kept[at:]]

    def _between(self, start: bytes, end: bytes) -> list[bytes]:
        keys = self._keys
        first = bisect_left(keys, start)
        return keys[first:] if end == EVERYTHING else keys[first : bisect_left(keys, end)]


def within(key: bytes, start: bytes, end: bytes) -> bool:
    if not end:
        return key == start
    return start <= key and (end == EVERYTHING or key < end)


def _revision(change: Change) -> int:
    return change.revision
