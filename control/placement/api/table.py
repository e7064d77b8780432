"""Every operation of the Placement API."""

from typing import Final

from control.placement.api.handlers import (
    allocations,
    belonging,
    candidates,
    inventories,
    providers,
    reshaper,
    resource_classes,
    root,
    traits,
    usages,
)
from control.placement.api.operation import Operation
from control.placement.api.schemas import allocations as allocation_schemas
from control.placement.api.schemas import belonging as belonging_schemas
from control.placement.api.schemas import inventories as inventory_schemas
from control.placement.api.schemas import providers as provider_schemas
from control.placement.api.schemas import queries as query_schemas
from control.placement.api.schemas.reshaper import RESHAPE
from control.placement.api.schemas.resource_classes import NAME

_ONE = "/resource_providers/{uuid}"
_CLASS = "/resource_classes/{name}"
_TRAIT = "/traits/{name}"
_INVENTORIES = f"{_ONE}/inventories"
_INVENTORY = f"{_INVENTORIES}/{{resource_class}}"
_CONSUMER = "/allocations/{consumer_uuid}"
_P = "resource_providers"

OPERATIONS: Final = (
    Operation("GET", "/", root.show, None, lists=False),
    # resource classes
    Operation("GET", "/resource_classes", resource_classes.index, "resource_classes:list", since=2),
    Operation("POST", "/resource_classes", resource_classes.create, "resource_classes:create", since=2, body=NAME),
    Operation("GET", _CLASS, resource_classes.show, "resource_classes:show", since=2),
    Operation("PUT", _CLASS, resource_classes.change_name, "resource_classes:update", since=2, until=6, body=NAME),
    Operation("PUT", _CLASS, resource_classes.put, "resource_classes:update", since=7),
    Operation("DELETE", _CLASS, resource_classes.delete, "resource_classes:delete", since=2),
    # resource providers
    Operation("GET", "/resource_providers", providers.index, f"{_P}:list", query=provider_schemas.LIST),
    Operation("POST", "/resource_providers", providers.create, f"{_P}:create", body=provider_schemas.CREATE),
    Operation("GET", _ONE, providers.show, f"{_P}:show"),
    Operation("PUT", _ONE, providers.change, f"{_P}:update", body=provider_schemas.CHANGE),
    Operation("DELETE", _ONE, providers.delete, f"{_P}:delete"),
    # what they offer
    Operation("GET", _INVENTORIES, inventories.index, f"{_P}:inventories:list"),
    Operation("POST", _INVENTORIES, inventories.add, f"{_P}:inventories:create", body=inventory_schemas.ADD),
    Operation("PUT", _INVENTORIES, inventories.replace, f"{_P}:inventories:update", body=inventory_schemas.REPLACE),
    Operation("DELETE", _INVENTORIES, inventories.clear, f"{_P}:inventories:delete", since=5, outside=405),
    Operation("GET", _INVENTORY, inventories.show, f"{_P}:inventories:show"),
    Operation("PUT", _INVENTORY, inventories.update, f"{_P}:inventories:update", body=inventory_schemas.UPDATE),
    Operation("DELETE", _INVENTORY, inventories.remove, f"{_P}:inventories:delete"),
    # what they are and belong to
    Operation("GET", f"{_ONE}/aggregates", belonging.show_aggregates, f"{_P}:aggregates:list", since=1),
    Operation(
        "PUT",
        f"{_ONE}/aggregates",
        belonging.set_aggregates,
        f"{_P}:aggregates:update",
        since=1,
        body=belonging_schemas.SET_AGGREGATES,
    ),
    Operation("GET", f"{_ONE}/traits", belonging.show_traits, f"{_P}:traits:list", since=6),
    Operation(
        "PUT",
        f"{_ONE}/traits",
        belonging.set_traits,
        f"{_P}:traits:update",
        since=6,
        body=belonging_schemas.SET_TRAITS,
        body_first=True,
    ),
    Operation("DELETE", f"{_ONE}/traits", belonging.clear_traits, f"{_P}:traits:delete", since=6),
    # traits
    Operation("GET", "/traits", traits.index, "traits:list", since=6, query=belonging_schemas.LIST_TRAITS),
    Operation("GET", _TRAIT, traits.show, "traits:show", since=6, lists=False),
    Operation("PUT", _TRAIT, traits.put, "traits:update", since=6),
    Operation("DELETE", _TRAIT, traits.delete, "traits:delete", since=6),
    # what is used
    Operation("GET", f"{_ONE}/usages", usages.of_provider, f"{_P}:usages"),
    Operation("GET", "/usages", usages.of_project, "usages", since=9, query=query_schemas.USAGES, own=True),
    Operation("GET", f"{_ONE}/allocations", allocations.of_provider, f"{_P}:allocations:list"),
    Operation(
        "POST", "/allocations", allocations.set_many, "allocations:manage", since=13, body=allocation_schemas.SET_MANY
    ),
    Operation("GET", _CONSUMER, allocations.of_consumer, "allocations:list"),
    Operation(
        "PUT",
        _CONSUMER,
        allocations.set_one,
        "allocations:update",
        body=allocation_schemas.SET_ONE,
        before=allocations.check_consumer,
    ),
    Operation("DELETE", _CONSUMER, allocations.release, "allocations:delete"),
    Operation(
        "GET",
        "/allocation_candidates",
        candidates.index,
        "allocation_candidates:list",
        since=10,
        query=query_schemas.CANDIDATES,
    ),
    Operation("POST", "/reshaper", reshaper.post, "reshaper:reshape", since=30, body=RESHAPE),
)


def rules() -> frozenset[str]:
    """Every policy rule, without its prefix."""
    return frozenset(operation.rule for operation in OPERATIONS if operation.rule)
