"""Key pairs. Their rules depend on whose key it is, so the handlers check them."""

from control.compute.handlers import keypairs
from control.compute.operation import Operation
from control.compute.schemas import keypairs as s

ALL = "/os-keypairs"
ONE = ALL + "/{id}"

OPERATIONS = (
    Operation(
        "keypairs.list",
        "GET",
        ALL,
        keypairs.index,
        rule="os-keypairs:index",
        role="owner",
        query=s.LIST,
        reply=("keypairs", "keypairs_links"),
    ),
    Operation(
        "keypairs.create",
        "POST",
        ALL,
        keypairs.create,
        {1: 200, 2: 201},
        rule="os-keypairs:create",
        role="owner",
        body=s.CREATE,
        reply=("keypair",),
    ),
    Operation(
        "keypairs.show",
        "GET",
        ONE,
        keypairs.show,
        rule="os-keypairs:show",
        role="owner",
        query=s.OF_USER,
        reply=("keypair",),
    ),
    Operation(
        "keypairs.delete",
        "DELETE",
        ONE,
        keypairs.delete,
        {1: 202, 2: 204},
        rule="os-keypairs:delete",
        role="owner",
        query=s.OF_USER,
    ),
)
