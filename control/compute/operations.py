"""THE table of operations of the compute API: what is not in it does not exist."""

from typing import Final

from control.compute.operation import Operation
from control.compute.policy import Role
from control.compute.tables import aggregates, flavors, keypairs, operators, own, server_groups, servers, versions

OPERATIONS: Final[tuple[Operation, ...]] = (
    *versions.OPERATIONS,
    *servers.OPERATIONS,
    *flavors.OPERATIONS,
    *keypairs.OPERATIONS,
    *operators.OPERATIONS,
    *aggregates.OPERATIONS,
    *server_groups.OPERATIONS,
    *own.OPERATIONS,
)


def default_rules() -> dict[str, Role]:
    """Policy names and their default roles, as the table says."""
    return {o.rule: o.role for o in OPERATIONS if o.rule}
