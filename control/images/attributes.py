"""The properties that every image has, as Glance names and types them; all others are strings of the user's."""

from typing import Any, Final

from attrs import frozen
from jsonschema import Draft4Validator
from jsonschema.exceptions import best_match

from schemas.errors import BadRequest, Forbidden, TooLarge
from schemas.image import Image

VISIBILITIES: Final = ("community", "public", "private", "shared")
DISK_FORMATS: Final = ("raw", "qcow2", "iso", "vhd", "vhdx", "vmdk", "vdi", "ploop", "ami", "ari", "aki")
CONTAINER_FORMATS: Final = ("bare", "ovf", "ova", "docker", "compressed", "ami", "ari", "aki")
PROPERTY_LENGTH: Final = 65535
SMALL: Final = {"type": "integer", "minimum": 0, "maximum": 2147483647}
RESERVED: Final = ("deleted", "deleted_at", "is_public", "location")
"""names that no property may have; nor may one begin with `RESERVED_PREFIX`"""
RESERVED_PREFIX: Final = "os_glance"
MOST: Final = {"properties": 128, "tags": 128, "members": 128}
"""Glance's default quotas of one image"""


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
    Attribute("min_ram", SMALL, "min_ram_mb"),
    Attribute("min_disk", SMALL, "min_disk_gb"),
    Attribute("self", {"type": "string", "readOnly": True}),
    Attribute("file", {"type": "string", "readOnly": True}),
    Attribute("schema", {"type": "string", "readOnly": True}),
    Attribute("locations", {"type": "array", "readOnly": True, "items": {"type": "object"}}),
    Attribute("stores", {"type": "string", "readOnly": True}),
)  # fmt: skip
BY_NAME: Final = {attribute.name: attribute for attribute in ATTRIBUTES}
BY_FIELD: Final = {attribute.field: attribute for attribute in ATTRIBUTES if attribute.field}


SCHEMA: Final[dict[str, Any]] = {
    "name": "image",
    "properties": {attribute.name: attribute.schema for attribute in ATTRIBUTES},
    "additionalProperties": {"type": "string"},
}
_VALIDATOR: Final = Draft4Validator(SCHEMA)


def writable(name: str) -> Attribute:
    """Of a base property. Raises Forbidden for what only the service sets."""
    attribute = BY_NAME[name]
    if not attribute.field:
        raise Forbidden(f"Attribute '{name}' is read-only.")
    return attribute


def require_unreserved(name: str) -> None:
    """Raises Forbidden for names of properties that clients may not use."""
    if name in RESERVED or name.startswith(RESERVED_PREFIX):
        raise Forbidden(f"Attribute '{name}' is reserved.")


def checked(name: str, value: Any) -> Any:
    """The value as the Image keeps it. Raises BadRequest when it does not fit the schema."""
    error = best_match(_VALIDATOR.iter_errors({name: value}))
    if error is not None:
        raise BadRequest(f"Provided object does not match schema 'image': {error}")
    if name not in BY_NAME and (len(name) > 255 or len(value) > PROPERTY_LENGTH):
        raise BadRequest(
            f"Property {name[:40]} is too long: 255 characters of name, {PROPERTY_LENGTH} of value at most."
        )
    return tuple(sorted(set(value))) if isinstance(value, list) else value


def require_quotas(image: Image, kinds: tuple[str, ...] = tuple(MOST)) -> None:
    """Raises TooLarge when it has more of something than one image may."""
    for kind in kinds:
        if (attempted := len(getattr(image, kind))) > MOST[kind]:
            raise TooLarge(
                f"The limit has been exceeded on the number of allowed image {kind}. Attempted: {attempted}, "
                f"Maximum: {MOST[kind]}"
            )


def require_queued(image: Image, field: str) -> None:
    """Formats describe the bytes: they are fixed when those are checked, which for staged bytes is at their import."""
    if field in ("disk_format", "container_format") and image.status not in ("queued", "uploading"):
        raise Forbidden(f"Attribute {field} can be only replaced for a queued image.")
