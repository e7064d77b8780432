"""Whether an etcd is still the one that this process began with.

A cluster that was restored from a backup has forgotten what this process read: its watches would wait for revisions
that come again with other content, and its compares could hold by chance. So the process ends, and begins from what is
there.
"""

import os
from collections.abc import Callable
from typing import Any, Final

import structlog

log = structlog.get_logger()

EXIT_CODE: Final = 75
"""EX_TEMPFAIL: whoever supervises the process is to start it again"""


class Identity:
    """Of one cluster, as its answers tell it: the cluster id, and a revision that never goes back."""

    def __init__(self, target: str, on_other: Callable[[str], None]) -> None:
        self.revision = 0
        """the highest that an answer bore"""
        self._target = target
        self._on_other = on_other
        self._cluster = 0
        self._told = False

    def check(self, answer: Any, seen: int) -> None:
        """`answer` is of a linearizable call; `seen`: the revision that was known when the call was made."""
        header = answer.header
        cluster, revision = header.cluster_id, header.revision
        if revision < seen:
            self._tell(f"its revision went back from {seen} to {revision}")
        elif cluster != self._cluster and self._cluster and cluster:
            self._tell(f"its cluster id was {self._cluster:x} and is {cluster:x}")
        self._cluster = self._cluster or cluster
        self.revision = max(self.revision, revision)

    def _tell(self, how: str) -> None:
        if not self._told:
            self._told = True
            self._on_other(
                f"etcd at {self._target} is not the one that this process began with: {how}. It was restored from a "
                "backup or replaced; start the process again"
            )


def end_process(reason: str) -> None:
    """At once: what is in memory belongs to another history, and nothing of it may be written."""
    log.critical("store replaced", reason=reason)
    os._exit(EXIT_CODE)
