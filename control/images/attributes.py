"""The properties that every image has, as Glance names and types them; all others are strings of the user's."""

from typing import Any, Final

from attrs import frozen

from schemas.errors import BadRequest, Forbidden
from schemas.image import Image

VISIBILITIES: Final = ("community", "public", "private", "shared")
DISK_FORMATS: Final = ("raw", "qcow2", "iso", "vhd", "vhdx", "vmdk", "vdi", "ploop", "ami", "ari", "aki")
CONTAINER_FORMATS: Final = ("bare", "ovf", "ova", "docker", "compressed", "ami", "ari", "aki")
NAME_LENGTH: Final = 255
PROPERTY_LENGTH: Final = 65535


@frozen
class Attribute:
    """`field` is the one of the Image; empty where a client cannot set it. `schema` is JSON Schema's."""

    name: str
    schema: dict[str, Any]
    field: str = ""


def _text(length: int = 255, **more: Any) -> dict[str, Any]:
    return {"type": ["null", "string"], "maxLength": length, **more}


ATTRIBUTES: Final = (
    Attribute("id", {"type": "string", "pattern": "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-"
                     "([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"}),
    Attribute("name", _text(), "name"),
    Attribute("status", {"type": "string", "readOnly": True,
                         "enum": ["queued", "saving", "active", "killed", "deleted", "uploading", "importing",
                                  "pending_delete", "deactivated"]}),
    Attribute("visibility", {"type": "string", "enum": list(VISIBILITIES)}, "visibility"),
    Attribute("protected", {"type": "boolean"}, "protected"),
    Attribute("os_hidden", {"type": "boolean"}, "hidden"),
    Attribute("checksum", _text(32, readOnly=True)),
    Attribute("os_hash_algo", _text(64, readOnly=True)),
    Attribute("os_hash_value", _text(128, readOnly=True)),
    Attribute("owner", _text(), "owner"),
    Attribute("size", {"type": ["null", "integer"], "readOnly": True}),
    Attribute("virtual_size", {"type": ["null", "integer"], "readOnly": True}),
    Attribute("container_format", _text(enum=[None, *CONTAINER_FORMATS]), "container_format"),
    Attribute("disk_format", _text(enum=[None, *DISK_FORMATS]), "disk_format"),
    Attribute("created_at", {"type": "string", "readOnly": True}),
    Attribute("updated_at", {"type": "string", "readOnly": True}),
    Attribute("tags", {"type": "array", "items": {"type": "string", "maxLength": 255}}, "tags"),
    Attribute("direct_url", {"type": "string", "readOnly": True}),
    Attribute("min_ram", {"type": "integer"}, "min_ram_mb"),
    Attribute("min_disk", {"type": "integer"}, "min_disk_gb"),
    Attribute("self", {"type": "string", "readOnly": True}),
    Attribute("file", {"type": "string", "readOnly": True}),
    Attribute("schema", {"type": "string", "readOnly": True}),
    Attribute("locations", {"type": "array", "readOnly": True, "items": {"type": "object"}}),
    Attribute("stores", {"type": "string", "readOnly": True}),
)  # fmt: skip
BY_NAME: Final = {attribute.name: attribute for attribute in ATTRIBUTES}
BY_FIELD: Final = {attribute.field: attribute for attribute in ATTRIBUTES if attribute.field}


def writable(name: str) -> Attribute:
    """Of a base property. Raises Forbidden for what only the service sets."""
    attribute = BY_NAME[name]
    if not attribute.field:
        raise Forbidden(f"Attribute '{name}' is read-only.")
    return attribute


def checked(name: str, value: Any) -> Any:
    """The value as the Image keeps it. Raises BadRequest when it does not fit the schema."""
    schema: dict[str, Any] = BY_NAME[name].schema if name in BY_NAME else {"type": "string"}
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(_is(value, kind) for kind in types):
        raise _misfit(name, f"{value!r} is not of type {', '.join(repr(kind) for kind in types)}")
    if "enum" in schema and value not in schema["enum"]:
        raise _misfit(name, f"{value!r} is not one of {schema['enum']}")
    longest: int = schema.get("maxLength", PROPERTY_LENGTH)
    if isinstance(value, str) and len(value) > longest:
        raise _misfit(name, f"{value[:40]!r}... is too long")
    if isinstance(value, int) and not 0 <= value < 2**31:
        raise _misfit(name, f"{value} is not between 0 and {2**31 - 1}")
    if isinstance(value, list):
        if not all(isinstance(tag, str) and len(tag) <= NAME_LENGTH for tag in value):
            raise _misfit(name, "tags are strings of at most 255 characters")
        return tuple(sorted(set(value)))
    return value


def require_queued(image: Image, field: str) -> None:
    """Formats describe the bytes: they are fixed once those are there."""
    if field in ("disk_format", "container_format") and image.status != "queued":
        raise Forbidden(f"Attribute {field} can be only replaced for a queued image.")


def _is(value: Any, kind: str) -> bool:
    match kind:
        case "null":
            return value is None
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case _:
            return isinstance(value, list)


def _misfit(name: str, why: str) -> BadRequest:
    return BadRequest(f"Provided object does not match schema 'image': {why}: Invalid property '{name}'")
