"""THE table of operations of the compute API: what is not in it does not exist."""

from typing import Final

from attrs import evolve

from control.compute.operation import Operation
from control.compute.policy import Role
from control.compute.tables import (
    absent,
    aggregates,
    devices,
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
    *devices.OPERATIONS,
    *flavors.OPERATIONS,
    *keypairs.OPERATIONS,
    *operators.OPERATIONS,
    *aggregates.OPERATIONS,
    *server_groups.OPERATIONS,
    *old_hosts.OPERATIONS,
    *images.OPERATIONS,
    *own.OPERATIONS,
)

ALIASES: Final = tuple(
    evolve(operation, path=operation.path.replace("/servers", "/os-volumes_boot", 1))
    for operation in (*OPERATIONS, *absent.OPERATIONS)
    if operation.path in ("/servers", "/servers/detail", servers.ONE, servers.ACTION)
)
"""Nova has these under the name of an extension that became a part of them, up to 2.102."""

ROUTED: Final = (*OPERATIONS, *gone.OPERATIONS, *absent.OPERATIONS, *ALIASES)
"""... and what is answered besides, without being in the documents."""


def default_rules() -> dict[str, Role]:
    """Policy names and their default roles, as the table says."""
    return {o.rule: o.role for o in (*absent.OPERATIONS, *OPERATIONS) if o.rule}
