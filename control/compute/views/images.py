"""Images as the compute API showed them, up to 2.35."""

from typing import Any, Final

from control.compute.urls import Urls
from control.compute.views.moments import seconds
from schemas.image import Image

Json = dict[str, Any]

STATUSES: Final = {"active": "ACTIVE", "queued": "SAVING", "saving": "SAVING", "killed": "ERROR"}
PROGRESS: Final = {"queued": 25, "saving": 50, "active": 100}


def brief(image: Image, urls: Urls, service: str) -> Json:
    """`service`: the image service's own URL, to which one link leads."""
    path = f"images/{image.id}"
    alternate = {"rel": "alternate", "type": "application/vnd.openstack.image", "href": f"{service}/{path}"}
    return {"id": image.id, "name": image.name, "links": [*urls.links(path), alternate]}


def full(image: Image, urls: Urls, service: str) -> Json:
    body = {
        **brief(image, urls, service),
        "minRam": image.min_ram_mb,
        "minDisk": image.min_disk_gb,
        "metadata": image.properties,
        "created": seconds(image.created),
        "updated": seconds(image.updated),
        "status": STATUSES.get(image.status, "UNKNOWN"),
        "progress": PROGRESS.get(image.status, 0),
        "OS-EXT-IMG-SIZE:size": image.size,
    }
    if server := image.properties.get("instance_uuid"):
        body["server"] = {"id": server, "links": urls.links(f"servers/{server}")}
    if (auto := image.properties.get("auto_disk_config")) is not None:
        body["OS-DCF:diskConfig"] = "AUTO" if auto.lower() in ("1", "t", "true", "on", "y", "yes") else "MANUAL"
    return body
