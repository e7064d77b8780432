"""From a validated request to the records of its servers. Pure: time, ids and randomness come in."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from attrs import field, frozen

from schemas.flavor import Flavor
from schemas.guest import KeyPairData
from schemas.identity import Identity
from schemas.image import Image
from schemas.server import ImageRef, Instance


@frozen
class ServerDraft:
    """One create request."""

    name: str
    flavor: Flavor
    image: Image | None
    min_count: int = 1
    max_count: int = 1
    hostname: str | None = None
    metadata: dict[str, str] = field(factory=dict)
    tags: tuple[str, ...] = ()
    description: str | None = None
    key: KeyPairData | None = None
    user_data: str | None = field(default=None, repr=False)
    config_drive: bool = False
    networks: str = "auto"
    availability_zone: str | None = None
    forced_host: str | None = None
    requested_host: str | None = None
    scheduler_hints: dict[str, Any] = field(factory=dict)
    group: str | None = None
    """uuid of the server group to join"""
    disk_config: str = "MANUAL"
    access_ip_v4: str | None = None
    access_ip_v6: str | None = None
    admin_password: str | None = field(default=None, repr=False)
    trusted_certs: tuple[str, ...] = ()


def hostname_of(name: str, fallback: str) -> str:
    """A display name made fit for DNS, as Nova does: at most 63 of letters, digits and hyphens."""
    host = re.sub(r"[ _.]", "-", name)
    host = re.sub(r"[^a-zA-Z0-9-]+", "", host.encode("ascii", "ignore").decode()).lower().strip("-")
    return host[:63].rstrip("-") or fallback


def instances_of(
    draft: ServerDraft, identity: Identity, uuids: Sequence[str], reservation: str, now: datetime, first: int = 0
) -> list[Instance]:
    """The servers of a request as accepted: building, scheduling. Several are numbered from 1. `first`: how many of the
    request's servers come before these."""
    image = image_ref(draft.image) if draft.image else None
    several = draft.max_count > 1
    servers = []
    for index, uuid in enumerate(uuids, first):
        name = f"{draft.name}-{index + 1}" if several else draft.name
        host = draft.hostname and (f"{draft.hostname}-{index + 1}" if several else draft.hostname)
        servers.append(
            Instance(
                uuid=uuid,
                project=identity.project,
                user=identity.user,
                name=name,
                hostname=host or hostname_of(name, f"Server-{uuid}"),
                created=now,
                updated=now,
                flavor=draft.flavor.copy_for_server(),
                image=image,
                vm_state="building",
                task_state="scheduling",
                instance_name=f"instance-{uuid[:8]}",
                metadata=draft.metadata,
                tags=draft.tags,
                description=draft.description,
                key=draft.key,
                config_drive=draft.config_drive,
                has_user_data=draft.user_data is not None,
                availability_zone=draft.availability_zone,
                pinned_zone=draft.availability_zone,
                disk_config=draft.disk_config,
                access_ip_v4=draft.access_ip_v4,
                access_ip_v6=draft.access_ip_v6,
                reservation=reservation,
                launch_index=index,
                networks=draft.networks,
                macs=() if draft.networks == "none" else (mac_of(uuid),),
                admin_password=draft.admin_password,
                trusted_certs=draft.trusted_certs,
                scheduler_hints=draft.scheduler_hints,
            )
        )
    return servers


def mac_of(uuid: str) -> str:
    """A locally administered address from the server's uuid, in OpenStack's usual range."""
    digits = uuid.replace("-", "")[:6]
    return f"fa:16:3e:{digits[0:2]}:{digits[2:4]}:{digits[4:6]}"


def image_ref(image: Image) -> ImageRef:
    return ImageRef(
        id=image.id,
        name=image.name or "",
        digest=image.digest or "",
        size=image.size or 0,
        disk_format=image.disk_format or "raw",
        properties=image.properties,
        container_format=image.container_format or "bare",
        min_disk_gb=image.min_disk_gb,
        min_ram_mb=image.min_ram_mb,
    )
