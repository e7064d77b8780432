"""From a server's record to what its agent is told. Pure."""

from typing import Literal

from schemas.guest import GuestMark, GuestSpec, ImageGrant, NicSpec
from schemas.operation import Operation
from schemas.server import Instance


def mark_of(site: str, operation: Operation) -> GuestMark:
    identity = f"{operation.kind}/{operation.request_id}/{operation.attempt}"
    return GuestMark(site, operation.server, operation.project, operation.generation, identity)


def spec_of(
    mark: GuestMark, instance: Instance, image_url: str, user_data: str | None, admin_password: str | None = None
) -> GuestSpec:
    """`admin_password` as the guest is told it, in clear."""
    image = instance.image
    grant = None
    if image is not None:
        disk_format: Literal["qcow2", "raw"] = "qcow2" if image.disk_format == "qcow2" else "raw"
        grant = ImageGrant(image.id, image.digest, image.size, disk_format, image_url)
    return GuestSpec(
        mark=mark,
        instance_name=instance.instance_name,
        name=instance.name,
        hostname=instance.hostname,
        user=instance.user,
        vcpus=instance.flavor.vcpus,
        memory_mb=instance.flavor.memory_mb,
        root_gb=instance.flavor.root_gb,
        ephemeral_gb=instance.flavor.ephemeral_gb,
        swap_mb=instance.flavor.swap_mb,
        image=grant,
        nics=tuple(NicSpec(mac) for mac in instance.macs),
        config_drive=instance.config_drive or instance.has_user_data or instance.key is not None,
        metadata=instance.metadata,
        user_data=user_data,
        key=instance.key,
        admin_password=admin_password,
        availability_zone=instance.availability_zone or "nova",
        launch_index=instance.launch_index,
        topology=instance.topology,
    )
