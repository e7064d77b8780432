"""What Nova does not have: below `/kilonova`, so that nothing of Nova's is in its way."""

from control.compute.handlers import explain
from control.compute.operation import Operation
from control.compute.schemas import own as s

OPERATIONS = (
    Operation(
        "explain.show",
        "GET",
        "/kilonova/explain/{server}",
        explain.show,
        rule="kilonova:explain",
        role="admin",
        reply=("explanation",),
    ),
    Operation(
        "explain.create",
        "POST",
        "/kilonova/explain",
        explain.create,
        rule="kilonova:explain",
        role="admin",
        body=s.EXPLAIN,
        reply=("explanation",),
    ),
)
