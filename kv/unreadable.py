"""Records that cannot be read: set aside with an alarm, so that everything else of their store goes on.

A record is unreadable when it was written by a release two steps away, by hand, or by a faulty conversion.
"""

from collections.abc import Collection

import structlog
from prometheus_client import Gauge

from schemas.errors import UnreadableRecord

log = structlog.get_logger()

UNREADABLE = Gauge(
    "kilonova_store_unreadable_records",
    "Records that this process has set aside since it cannot read them; the log names each",
    ["store"],
)


class Aside:
    """Of one store: the mod-revisions of unreadable records by path. Each revision of one is logged once."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._revisions: dict[str, int] = {}

    def revision(self, path: str) -> int:
        """Of the record that was set aside; 0: none was."""
        return self._revisions.get(path, 0)

    def keep(self, stem: str, paths: Collection[str]) -> None:
        """Of those that begin with `stem` only `paths` are there any more."""
        for path in [p for p in self._revisions if p.startswith(stem) and p not in paths]:
            self.remove(path)

    def add(self, path: str, mod_revision: int, error: UnreadableRecord) -> None:
        if self._revisions.get(path) == mod_revision:
            return
        self._revisions[path] = mod_revision
        self._count()
        log.error("unreadable record set aside", store=self._store, path=path, reason=error.message)

    def remove(self, path: str) -> None:
        """It was deleted, or can be read again."""
        if self._revisions and self._revisions.pop(path, None) is not None:
            self._count()

    def _count(self) -> None:
        UNREADABLE.labels(self._store).set(len(self._revisions))
