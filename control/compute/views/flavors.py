"""Flavors."""

from typing import Any

from control.compute.urls import Urls
from schemas.flavor import Flavor

Json = dict[str, Any]


def brief(flavor: Flavor, urls: Urls, version: int) -> Json:
    body: Json = {"id": flavor.id, "name": flavor.name, "links": urls.links(f"flavors/{flavor.id}")}
    return {**body, "description": flavor.description} if version >= 55 else body


def full(flavor: Flavor, urls: Urls, version: int, *, specs: bool) -> Json:
    """`specs`: whether policy shows the extra specs, which versions from 2.61 on embed."""
    body: Json = {
        "id": flavor.id,
        "name": flavor.name,
        "ram": flavor.memory_mb,
        "disk": flavor.root_gb,
        "swap": flavor.swap_mb if flavor.swap_mb or version >= 75 else "",
        "OS-FLV-EXT-DATA:ephemeral": flavor.ephemeral_gb,
        "OS-FLV-DISABLED:disabled": flavor.disabled,
        "vcpus": flavor.vcpus,
        "os-flavor-access:is_public": flavor.is_public,
        "rxtx_factor": flavor.rxtx_factor,
        "links": urls.links(f"flavors/{flavor.id}"),
    }
    if version >= 55:
        body["description"] = flavor.description
    if version >= 61 and specs:
        body["extra_specs"] = flavor.extra_specs
    return body


def access(flavor: Flavor) -> Json:
    return {"flavor_access": [{"flavor_id": flavor.id, "tenant_id": project} for project in flavor.projects]}
