"""The table of operations as an OpenAPI 3.1 document."""

from collections.abc import Sequence
from functools import cache
from http import HTTPStatus
from typing import Any, Final

from control.images.attributes import CONTAINER_FORMATS, DISK_FORMATS, SCHEMA, VISIBILITIES
from control.images.call import Operation
from control.images.patch import MEDIA_TYPES, OPERATIONS
from control.images.query import MEMBER_STATUSES, SORT_KEYS
from control.openapi.shapes import ANYTHING, BOOLEAN, INTEGER, SECONDS, STRING, UUID, array, nullable, obj, one_of
from control.openapi.told import Body, Told, assembled

Schema = dict[str, Any]

IMAGE: Final[Schema] = {
    **obj(
        {
            "id": UUID,
            "name": nullable(STRING),
            "status": one_of(*SCHEMA["properties"]["status"]["enum"]),
            "visibility": one_of(*VISIBILITIES),
            "protected": BOOLEAN,
            "os_hidden": BOOLEAN,
            "owner": STRING,
            "disk_format": nullable(one_of(*DISK_FORMATS)),
            "container_format": nullable(one_of(*CONTAINER_FORMATS)),
            "min_disk": INTEGER,
            "min_ram": INTEGER,
            "size": nullable(INTEGER),
            "virtual_size": nullable(INTEGER),
            "checksum": nullable({"type": "string", "pattern": "^[0-9a-f]{32}$"}),
            "os_hash_algo": nullable(one_of("sha512")),
            "os_hash_value": nullable({"type": "string", "pattern": "^[0-9a-f]{128}$"}),
            "tags": array(STRING),
            "created_at": SECONDS,
            "updated_at": SECONDS,
            "self": STRING,
            "file": STRING,
            "schema": STRING,
        },
        stores=STRING,
    ),
    "additionalProperties": STRING,
}
MEMBER: Final = obj(
    {
        "member_id": STRING,
        "image_id": UUID,
        "status": one_of("pending", "accepted", "rejected"),
        "created_at": SECONDS,
        "updated_at": SECONDS,
        "schema": STRING,
    }
)
_NO_TASKS: Final = {"type": "array", "items": ANYTHING, "maxItems": 0}
_METHODS: Final = obj({"description": STRING, "type": STRING, "value": array(STRING)})

_STORE: Final = {"id": STRING, "description": STRING, "default": STRING}

DONE: Final[dict[str, dict[int, Schema | None]]] = {
    "create_image": {201: IMAGE},
    "list_images": {200: obj({"images": array(IMAGE), "first": STRING, "schema": STRING}, next=STRING)},
    "get_image": {200: IMAGE},
    "update_image": {200: IMAGE},
    "download_image": {200: None, 204: None, 206: None},
    "import_bytes": {202: None},
    "list_image_tasks": {200: obj({"tasks": _NO_TASKS})},
    "list_import_methods": {200: obj({"import-methods": _METHODS})},
    "list_stores": {200: obj({"stores": array(obj(_STORE))})},
    "list_stores_in_detail": {
        200: obj({"stores": array(obj({**_STORE, "type": STRING, "weight": INTEGER, "properties": ANYTHING}))})
    },
    "list_tasks": {200: obj({"tasks": _NO_TASKS, "first": STRING, "schema": STRING})},
    "get_task": {},
    "list_metadef_namespaces": {200: obj({"namespaces": _NO_TASKS, "first": STRING, "schema": STRING})},
    "list_metadef_resource_types": {200: obj({"resource_types": _NO_TASKS})},
    "delete_from_store": {},
    "list_members": {200: obj({"members": array(MEMBER), "schema": STRING})},
    **{name: {200: MEMBER} for name in ("create_member", "get_member", "update_member")},
}
"""By operation, where a success is not a bare 204; empty: the site never does it"""

_ABOUT: Final = {
    name: schema for name, schema in SCHEMA["properties"].items() if name != "id" and not schema.get("readOnly")
}
_PATCH: Final = array(
    {
        "type": "object",
        "properties": {
            "op": one_of(*OPERATIONS),
            "path": {"type": "string", "pattern": "^/[^/~]+$"},
            "value": ANYTHING,
        },
        "required": ["op", "path"],
    }
)
_BYTES: Final = {"type": "string", "format": "binary"}
BODIES: Final[dict[str, Body]] = {
    "create_image": Body(
        {"type": "object", "properties": _ABOUT, "additionalProperties": {"type": "string", "maxLength": 255}},
        {"name": "tiny", "disk_format": "raw", "container_format": "bare", "os_distro": "none"},
    ),
    "update_image": Body(
        _PATCH,
        [{"op": "replace", "path": "/name", "value": "tiny-2"}, {"op": "add", "path": "/os_distro", "value": "none"}],
        MEDIA_TYPES[0],
    ),
    "upload_image": Body(_BYTES, media="application/octet-stream"),
    "stage_bytes": Body(_BYTES, media="application/octet-stream"),
    "import_bytes": Body(
        obj({"method": obj({"name": one_of("glance-direct")})}), {"method": {"name": "glance-direct"}}
    ),
    "create_member": Body(obj({"member": {"type": "string", "minLength": 1}}), {"member": "a-project"}),
    "update_member": Body(obj({"status": one_of("pending", "accepted", "rejected")}), {"status": "accepted"}),
}
QUERY: Final[dict[str, Schema]] = {
    "limit": {"type": "integer", "minimum": 0},
    "marker": UUID,
    "name": STRING,
    "status": STRING,
    "visibility": one_of(*VISIBILITIES, "all"),
    "member_status": one_of(*MEMBER_STATUSES),
    "owner": STRING,
    "tag": STRING,
    "protected": one_of("true", "false"),
    "os_hidden": one_of("true", "false"),
    "size_min": {"type": "integer", "minimum": 0},
    "size_max": {"type": "integer", "minimum": 0},
    "created_at": {"type": "string", "pattern": r"^(gt|lt|gte|lte):20[0-9]{2}-0[1-9]-1[0-9]T00:00:00Z$"},
    "sort_key": one_of(*SORT_KEYS),
    "sort_dir": one_of("asc", "desc"),
    "sort": {"type": "string", "pattern": "^(name|status|size)(:asc|:desc)?$"},
}
CODES: Final = (400, 401, 403, 404, 409, 413, 415, 416, 429, 503)
MAKERS: Final = (("create_image", "/id"),)


def _fault(code: int) -> dict[str, Schema]:
    """JSON for those who ask for it."""
    title = HTTPStatus(code).phrase
    told = obj({"code": one_of(f"{code} {title}"), "title": one_of(title), "message": STRING})
    return {"application/json": told, "text/html": STRING, "text/plain": STRING}


@cache
def document(operations: Sequence[Operation]) -> bytes:
    told = [_told(operation) for operation in operations]
    return assembled("Kilonova image API", told, {code: _fault(code) for code in CODES}, MAKERS)


def _told(operation: Operation) -> Told:
    name = operation.handler.__name__
    return Told(
        name,
        operation.method,
        operation.path,
        DONE.get(name, {204: None}),
        CODES,
        BODIES.get(name),
        QUERY if name == "list_images" else {},
        bytes_of=200 if name == "download_image" else 0,
    )
