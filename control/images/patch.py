"""PATCH of an image: JSON patch in Glance's dialect, applied to a record. Pure."""

import re
from typing import Any, Final

from attrs import evolve, frozen

from control.images.attributes import BY_NAME, checked, require_queued, require_quotas, require_unreserved, writable
from schemas.errors import BadRequest, Conflict, Forbidden, TooLarge
from schemas.image import Image

MEDIA_TYPES: Final = (
    "application/openstack-images-v2.1-json-patch",
    "application/openstack-images-v2.0-json-patch",
)
OPERATIONS: Final = ("add", "remove", "replace")


MOST_CHANGES: Final = 512


@frozen
class Change:
    op: str
    name: str
    value: Any


def parse_patch(body: Any) -> list[Change]:
    if not isinstance(body, list):
        raise BadRequest("Request body must be a JSON array of operation objects.")
    if len(body) > MOST_CHANGES:
        raise TooLarge(f"More than {MOST_CHANGES} operations in one request.")
    return [_parse(operation) for operation in body]


def apply_patch(image: Image, changes: list[Change]) -> Image:
    """Raises Forbidden, Conflict or BadRequest as Glance does; the record is untouched then."""
    for change in changes:
        require_unreserved(change.name)
        if change.name == "locations":
            raise Forbidden("It's not allowed to update locations if locations are invisible.")
        image = _apply_base(image, change) if change.name in BY_NAME else _apply_property(image, change)
    require_quotas(image)
    return image


def _parse(operation: Any) -> Change:
    if not isinstance(operation, dict):
        raise BadRequest("Operations must be JSON objects.")
    op, path = operation.get("op"), operation.get("path")
    if op is None:  # version 2.0 of the dialect: {"replace": "/name", "value": ...}
        named = [name for name in OPERATIONS if name in operation]
        if len(named) != 1:
            raise BadRequest("Unable to find 'op' in JSON Schema change")
        op, path = named[0], operation[named[0]]
    elif path is None:
        raise BadRequest("Unable to find 'path' in JSON Schema change")
    if op not in OPERATIONS:
        raise BadRequest(f"Invalid operation: `{op}`. It must be one of the following: {', '.join(OPERATIONS)}.")
    name = _pointed(str(path))
    if op != "remove" and "value" not in operation:
        raise BadRequest(f'Operation "{op}" requires a member named "value".')
    return Change(op, name, operation.get("value"))


def _pointed(pointer: str) -> str:
    """The property that a JSON pointer names. Raises BadRequest for what is no pointer, or points deeper."""
    faults = (
        (not pointer.startswith("/"), 'does not start with "/"'),
        (re.search(r"/\s*?/", pointer[1:]), 'contains adjacent "/"'),
        (len(pointer) > 1 and pointer.endswith("/"), 'end with "/"'),
        (not pointer[1:].strip(), "does not contains valid token"),
        (
            re.search("~[^01]", pointer) or pointer.endswith("~"),
            'contains "~" not part of a recognized escape sequence',
        ),
    )
    for found, fault in faults:
        if found:
            raise BadRequest(f"Pointer `{pointer}` {fault}.")
    if pointer.startswith("/locations/"):
        return "locations"  # which is refused as a whole
    if "/" in pointer[1:]:
        raise BadRequest(f"Invalid JSON pointer for this resource: '{pointer}'")
    return pointer[1:].replace("~1", "/").replace("~0", "~").strip()


def _apply_base(image: Image, change: Change) -> Image:
    attribute = writable(change.name)
    require_queued(image, attribute.field)
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
