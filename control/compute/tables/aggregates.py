"""Host aggregates."""

from control.compute.call import Handler
from control.compute.handlers import aggregates
from control.compute.operation import Method, Operation
from control.compute.schemas import aggregates as s
from control.compute.validation import Schemas

ALL = "/os-aggregates"
ONE = "/os-aggregates/{id}"


def _operation(name: str, method: Method, path: str, handler: Handler, body: Schemas | None = None) -> Operation:
    """Each has a rule of its own name and is the administrator's."""
    reply = ("aggregates",) if name == "index" else () if name == "delete" else ("aggregate",)
    return Operation(
        f"aggregates.{name}",
        method,
        path,
        handler,
        rule=f"os-aggregates:{name}",
        role="admin",
        action=name if path.endswith("/action") else None,
        body=body,
        reply=reply,
    )


OPERATIONS = (
    _operation("index", "GET", ALL, aggregates.index),
    _operation("create", "POST", ALL, aggregates.create, s.CREATE),
    _operation("show", "GET", ONE, aggregates.show),
    _operation("update", "PUT", ONE, aggregates.update, s.UPDATE),
    _operation("delete", "DELETE", ONE, aggregates.delete),
    _operation("add_host", "POST", ONE + "/action", aggregates.add_host, s.ADD_HOST),
    _operation("remove_host", "POST", ONE + "/action", aggregates.remove_host, s.REMOVE_HOST),
    Operation(
        "aggregates.images",
        "POST",
        ONE + "/images",
        aggregates.cache_images,
        202,
        rule="compute:aggregates:images",
        role="admin",
        since=81,
        body=s.CACHE_IMAGES,
    ),
    _operation("set_metadata", "POST", ONE + "/action", aggregates.set_metadata, s.SET_METADATA),
)
