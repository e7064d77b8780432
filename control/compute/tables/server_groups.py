"""Server groups."""

from control.compute.handlers import server_groups
from control.compute.operation import Operation
from control.compute.schemas import server_groups as s

ALL = "/os-server-groups"
ONE = "/os-server-groups/{id}"

OPERATIONS = (
    Operation(
        "server-groups.list",
        "GET",
        ALL,
        server_groups.index,
        rule="os-server-groups:index",
        role="reader",
        query=s.LIST,
        reply=("server_groups",),
    ),
    Operation(
        "server-groups.create",
        "POST",
        ALL,
        server_groups.create,
        rule="os-server-groups:create",
        role="member",
        body=s.CREATE,
        reply=("server_group",),
    ),
    Operation(
        "server-groups.show",
        "GET",
        ONE,
        server_groups.show,
        rule="os-server-groups:show",
        role="reader",
        reply=("server_group",),
    ),
    Operation(
        "server-groups.delete", "DELETE", ONE, server_groups.delete, 204, rule="os-server-groups:delete", role="member"
    ),
)
