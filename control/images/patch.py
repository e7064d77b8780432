"""PATCH of an image: JSON patch in Glance's dialect, applied to a record. Pure."""

from typing import Any, Final

from attrs import evolve, frozen

from control.images.attributes import BY_NAME, checked, require_queued, writable
from schemas.errors import BadRequest, Conflict, Forbidden
from schemas.image import Image

MEDIA_TYPES: Final = (
    "application/openstack-images-v2.1-json-patch",
    "application/openstack-images-v2.0-json-patch",
)
OPERATIONS: Final = ("add", "remove", "replace")


@frozen
class Change:
    op: str
    name: str
    index: str | None
    """of an element, in the only property that has elements: tags"""
    value: Any


def parse_patch(body: Any) -> list[Change]:
    if not isinstance(body, list):
        raise BadRequest("Request body must be a JSON array of operation objects.")
    return [_parse(operation) for operation in body]


def apply_patch(image: Image, changes: list[Change]) -> Image:
    """Raises Forbidden, Conflict or BadRequest as Glance does; the record is untouched then."""
    for change in changes:
        image = _apply_base(image, change) if change.name in BY_NAME else _apply_property(image, change)
    return image


def _parse(operation: Any) -> Change:
    if not isinstance(operation, dict):
        raise BadRequest("Operations must be JSON objects.")
    op, path = operation.get("op"), operation.get("path")
    if op is None:  # version 2.0 of the dialect: {"replace": "/name", "value": ...}
        op = next((name for name in OPERATIONS if name in operation), None)
        path = operation.get(op) if op else None
    if op not in OPERATIONS:
        raise BadRequest(f"Operations must be one of {', '.join(OPERATIONS)}.")
    if not isinstance(path, str) or not path.startswith("/"):
        raise BadRequest(f"Invalid JSON pointer for this resource: '{path}'")
    if op != "remove" and "value" not in operation:
        raise BadRequest(f"Operation '{op}' requires a member named 'value'.")
    name, *rest = [part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/")]
    if not name or len(rest) > (1 if name == "tags" else 0):
        raise BadRequest(f"Invalid JSON pointer for this resource: '{path}'")
    return Change(op, name, rest[0] if rest else None, operation.get("value"))


def _apply_base(image: Image, change: Change) -> Image:
    attribute = writable(change.name)
    require_queued(image, attribute.field)
    if change.index is not None:
        return evolve(image, tags=_with_tag(image.tags, change, change.index))
    if change.op == "remove":
        raise Forbidden(f"Property {change.name} may not be removed.")
    value = checked(change.name, change.value)
    if attribute.field == "owner" and not value:
        raise BadRequest("An image must have an owner.")
    return evolve(image, **{attribute.field: value})


def _apply_property(image: Image, change: Change) -> Image:
    if change.op != "add" and change.name not in image.properties:
        raise Conflict(f"Property {change.name} does not exist.")
    properties = dict(image.properties)
    if change.op == "remove":
        del properties[change.name]
    else:
        properties[change.name] = checked(change.name, change.value)
    return evolve(image, properties=properties)


def _with_tag(tags: tuple[str, ...], change: Change, index: str) -> tuple[str, ...]:
    """Tags are a set, kept sorted; an index is one into that order."""
    changed = list(tags)
    at = len(tags) if index == "-" else int(index) if index.isdecimal() else -1
    if not 0 <= at < len(tags) + (change.op == "add"):
        raise BadRequest(f"Invalid JSON pointer for this resource: '/tags/{index}'")
    if change.op != "add":
        del changed[at]
    if change.op != "remove":
        changed.append(change.value)
    fit: tuple[str, ...] = checked("tags", changed)
    return fit
