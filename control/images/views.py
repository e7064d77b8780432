"""Records as Glance's JSON."""

from datetime import datetime
from typing import Any, Final

from control.images.attributes import SCHEMA
from schemas.image import Image, Member

STORE: Final = "objects"
"""The one store of bytes, by Glance's word for it"""


def instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def image_view(image: Image) -> dict[str, Any]:
    """A property of the user's never hides one of Glance's."""
    return {
        **image.properties,
        "id": image.id,
        "name": image.name,
        "status": image.status,
        "visibility": image.visibility,
        "protected": image.protected,
        "os_hidden": image.hidden,
        "owner": image.owner,
        "disk_format": image.disk_format,
        "container_format": image.container_format,
        "min_disk": image.min_disk_gb,
        "min_ram": image.min_ram_mb,
        "size": image.size,
        "virtual_size": image.virtual_size,
        "checksum": image.checksum,
        "os_hash_algo": "sha512" if image.os_hash_value else None,
        "os_hash_value": image.os_hash_value,
        "tags": list(image.tags),
        **({"stores": STORE} if image.digest else {}),
        "created_at": instant(image.created),
        "updated_at": instant(image.updated),
        "self": f"/v2/images/{image.id}",
        "file": f"/v2/images/{image.id}/file",
        "schema": "/v2/schemas/image",
    }


def member_view(image: Image, project: str, member: Member) -> dict[str, Any]:
    return {
        "image_id": image.id,
        "member_id": project,
        "status": member.status,
        "created_at": instant(member.created),
        "updated_at": instant(member.updated),
        "schema": "/v2/schemas/member",
    }


def image_schema() -> dict[str, Any]:
    return {
        **SCHEMA,
        "links": [
            {"rel": "self", "href": "{self}"},
            {"rel": "enclosure", "href": "{file}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


def images_schema() -> dict[str, Any]:
    return {
        "name": "images",
        "properties": {
            "images": {"type": "array", "items": image_schema()},
            "first": {"type": "string"},
            "next": {"type": "string"},
            "schema": {"type": "string"},
        },
        "links": [
            {"rel": "first", "href": "{first}"},
            {"rel": "next", "href": "{next}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


def member_schema() -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "name": "member",
        "properties": {
            "member_id": text,
            "image_id": text,
            "created_at": text,
            "updated_at": text,
            "status": {"type": "string", "enum": ["pending", "accepted", "rejected"]},
            "schema": text,
        },
    }


def task_schema() -> dict[str, Any]:
    text = {"type": "string"}
    names = ("id", "type", "status", "owner", "message", "expires_at", "created_at", "updated_at", "self", "schema")
    return {"name": "task", "properties": {**dict.fromkeys(names, text), "input": {"type": ["null", "object"]},
                                           "result": {"type": ["null", "object"]}}}  # fmt: skip


def tasks_schema() -> dict[str, Any]:
    properties = {"tasks": {"type": "array", "items": task_schema()}, "schema": {"type": "string"}}
    return {"name": "tasks", "properties": properties, "links": [{"rel": "describedby", "href": "{schema}"}]}


def members_schema() -> dict[str, Any]:
    return {
        "name": "members",
        "properties": {"members": {"type": "array", "items": member_schema()}, "schema": {"type": "string"}},
        "links": [{"rel": "describedby", "href": "{schema}"}],
    }


METADEFS: Final[dict[str, tuple[str, ...]]] = {
    "namespace": ("namespace", "display_name", "description", "visibility", "owner"),
    "resource_type": ("name", "prefix", "properties_target"),
    "object": ("name", "description"),
    "property": ("name", "title", "type"),
    "tag": ("name",),
}
"""kinds of metadata definitions, of which there are none here, with the texts that describe one"""
_IRREGULAR: Final = {"property": "properties"}


def metadef_schemas() -> dict[str, dict[str, Any]]:
    """By the last part of their address: of each kind one and many."""
    found: dict[str, dict[str, Any]] = {}
    for kind, names in METADEFS.items():
        moments = {
            "created_at": {"type": "string", "readOnly": True},
            "updated_at": {"type": "string", "readOnly": True},
        }
        one = {"name": kind, "properties": {**{name: {"type": "string"} for name in names}, **moments}}
        plural = _IRREGULAR.get(kind, f"{kind}s")
        head = {"resource_type": "resource_type_associations"}.get(kind, plural)
        many = {"name": plural, "properties": {head: {"type": "array", "items": one}, "schema": {"type": "string"}}}
        found |= {kind: one, plural: {**many, "links": [{"rel": "describedby", "href": "{schema}"}]}}
    return found
