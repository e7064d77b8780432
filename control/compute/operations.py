"""THE table of operations of the compute API: what is not in it does not exist."""

from typing import Final

from control.compute.operation import Operation
from control.compute.policy import Role
from control.compute.tables import (
    aggregates,
    flavors,
    gone,
    images,
    keypairs,
    old_hosts,
    operators,
    own,
    server_groups,
    servers,
    versions,
)

OPERATIONS: Final[tuple[Operation, ...]] = (
    *versions.OPERATIONS,
    *servers.OPERATIONS,
    *flavors.OPERATIONS,
    *keypairs.OPERATIONS,
    *operators.OPERATIONS,
    *aggregates.OPERATIONS,
    *server_groups.OPERATIONS,
    *old_hosts.OPERATIONS,
    *images.OPERATIONS,
    *own.OPERATIONS,
)

ROUTED: Final = (*OPERATIONS, *gone.OPERATIONS, *servers.ALIASES)
"""... and what is answered besides, without being in the documents."""


def default_rules() -> dict[str, Role]:
    """Policy names and their default roles, as the table says."""
    return {o.rule: o.role for o in OPERATIONS if o.rule}
