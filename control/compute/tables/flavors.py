"""Flavors, their extra specs and their access."""

from control.compute.handlers import flavor_access, flavor_specs, flavors
from control.compute.operation import Operation
from control.compute.schemas import flavors as s

ONE = "/flavors/{flavor}"
SPECS = ONE + "/os-extra_specs"

OPERATIONS = (
    Operation("flavors.list", "GET", "/flavors", flavors.index, query=s.LIST, reply=("flavors", "flavors_links")),
    Operation(
        "flavors.detail", "GET", "/flavors/detail", flavors.detail, query=s.LIST, reply=("flavors", "flavors_links")
    ),
    Operation("flavors.show", "GET", ONE, flavors.show, reply=("flavor",)),
    Operation(
        "flavors.create",
        "POST",
        "/flavors",
        flavors.create,
        rule="os-flavor-manage:create",
        role="admin",
        body=s.CREATE,
        reply=("flavor",),
    ),
    Operation(
        "flavors.update",
        "PUT",
        ONE,
        flavors.update,
        rule="os-flavor-manage:update",
        role="admin",
        since=55,
        body=s.UPDATE,
        reply=("flavor",),
    ),
    Operation("flavors.delete", "DELETE", ONE, flavors.delete, 202, rule="os-flavor-manage:delete", role="admin"),
    Operation(
        "flavor-specs.list",
        "GET",
        SPECS,
        flavor_specs.index,
        rule="os-flavor-extra-specs:index",
        role="reader",
        reply=("extra_specs",),
    ),
    Operation(
        "flavor-specs.create",
        "POST",
        SPECS,
        flavor_specs.create,
        rule="os-flavor-extra-specs:create",
        role="admin",
        body=s.SPECS,
        reply=("extra_specs",),
    ),
    Operation(
        "flavor-specs.show",
        "GET",
        SPECS + "/{id}",
        flavor_specs.show,
        rule="os-flavor-extra-specs:show",
        role="reader",
    ),
    Operation(
        "flavor-specs.update",
        "PUT",
        SPECS + "/{id}",
        flavor_specs.update,
        rule="os-flavor-extra-specs:update",
        role="admin",
        body=s.SPEC,
    ),
    Operation(
        "flavor-specs.delete",
        "DELETE",
        SPECS + "/{id}",
        flavor_specs.delete,
        rule="os-flavor-extra-specs:delete",
        role="admin",
    ),
    Operation(
        "flavor-access.list",
        "GET",
        ONE + "/os-flavor-access",
        flavor_access.index,
        rule="os-flavor-access",
        role="admin",
        reply=("flavor_access",),
    ),
    Operation(
        "flavor-access.add",
        "POST",
        ONE + "/action",
        flavor_access.add,
        action="addTenantAccess",
        rule="os-flavor-access:add_tenant_access",
        role="admin",
        body=s.ADD_ACCESS,
        reply=("flavor_access",),
    ),
    Operation(
        "flavor-access.remove",
        "POST",
        ONE + "/action",
        flavor_access.remove,
        action="removeTenantAccess",
        rule="os-flavor-access:remove_tenant_access",
        role="admin",
        body=s.REMOVE_ACCESS,
        reply=("flavor_access",),
    ),
)
