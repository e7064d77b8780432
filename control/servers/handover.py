"""What of a server is copied when it changes its store: from its request into a cell, and back after a failed build.

A hand-over takes several transactions in two stores. An update that is answered in between is part of the copy, or it
waits: a server that goes back to the top is *sealed* in its cell before it is copied, and a sealed server takes no
updates. Pure.
"""

from typing import Any, Final

from attrs import evolve

from kv.txn import Stored, Txn
from schemas.operation import Operation
from schemas.server import Instance

USER_FIELDS: Final = (
    "name",
    "hostname",
    "description",
    "metadata",
    "tags",
    "locked_by",
    "locked_reason",
    "access_ip_v4",
    "access_ip_v6",
    "disk_config",
)
"""All that an update may change: the API writes these alone, wherever the server is."""

SEALED: Final = "sealed"
"""Key in the results of a `returning` operation."""


def with_user_fields(server: Instance, source: Instance) -> Instance:
    """The server with the user's fields of `source`, and updated no earlier than it if any of them differ."""
    changes: dict[str, Any] = {
        name: value for name in USER_FIELDS if (value := getattr(source, name)) != getattr(server, name)
    }
    if not changes:
        return server
    return evolve(server, **changes, updated=max(server.updated, source.updated))


def is_sealed(operation: Stored[Operation] | None) -> bool:
    """Whether the server is about to be copied to the top, so that a change made here would be lost."""
    return operation is not None and bool(operation.value.results.get(SEALED))


def sealing(instance: Stored[Instance], returning: Stored[Operation]) -> Txn:
    """From its commit on nobody else changes the instance: an update that read it before loses its compare, one that
    reads it later finds the mark."""
    operation = returning.value
    marked = evolve(operation, results={**operation.results, SEALED: True})
    return Txn("seal server").replace(instance, instance.value).replace(returning, marked)
