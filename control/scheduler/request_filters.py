"""Request filters: what options, aggregates, flavor and image add to a request before hosts are looked at.

In Nova's order and under its names. Each takes a request and the model and returns the request, or raises Impossible.
A third party's is a function of the same shape under the entry point group `kilonova.scheduler.request_filters`; it
runs after these.
"""

from collections.abc import Callable, Iterable
from typing import Final

from attrs import evolve

from control.scheduler.model import Model
from control.scheduler.request import Membership, Request
from schemas.aggregate import Aggregate

RequestFilter = Callable[[Request, Model], Request]

TRUE: Final = frozenset({"1", "t", "true", "on", "y", "yes"})


class Impossible(Exception):
    """No host can ever do; the message says why."""


def require_tenant_aggregate(request: Request, model: Model) -> Request:
    options = request.settings.scheduler
    if not options.limit_tenants_to_placement_aggregate:
        return request
    project = request.spec.project
    mine = [
        a.uuid
        for a in model.aggregates.values()
        if any(k.startswith("filter_tenant_id") and v == project for k, v in a.metadata.items())
    ]
    if mine:
        return _inside(request, mine, "not in an aggregate of the project")
    if options.placement_aggregate_required_for_tenants:
        raise Impossible("no aggregate is of the project")
    return request


def map_az_to_placement_aggregate(request: Request, model: Model) -> Request:
    """The default zone is that of the hosts which no aggregate puts into one."""
    zone = request.spec.availability_zone or request.settings.scheduler.default_schedule_zone
    if not zone:
        return request
    zoned = [a for a in model.aggregates.values() if a.zone]
    chosen = [a.uuid for a in zoned if a.zone == zone]
    why = f"not in zone {zone}"
    if chosen or zone != request.settings.scheduler.default_availability_zone:
        return _inside(request, chosen, why)
    return _outside(request, [a.uuid for a in zoned], why)


def require_image_type_support(request: Request, _: Model) -> Request:
    image = request.spec.image
    if not request.settings.scheduler.query_placement_for_image_type_support or image is None:
        return request
    return _require(request, f"COMPUTE_IMAGE_TYPE_{image.disk_format.upper()}")


def compute_status_filter(request: Request, _: Model) -> Request:
    return evolve(request, forbidden=request.forbidden | {"COMPUTE_STATUS_DISABLED"})


def isolate_aggregates(request: Request, model: Model) -> Request:
    """Aggregates that require traits are closed to requests that do not require them all."""
    if not request.settings.scheduler.enable_isolated_aggregate_filtering:
        return request
    closed = [a.uuid for a in model.aggregates.values() if _traits_of(a) - request.all_required]
    return _outside(request, closed, "isolated by its aggregate's traits")


def transform_image_metadata(request: Request, _: Model) -> Request:
    if not request.settings.scheduler.image_metadata_prefilter:
        return request
    found = (
        f"{prefix}_{_trait_word(request.properties[key])}"
        for key, prefix in IMAGE_TRAITS.items()
        if key in request.properties
    )
    return _require(request, *found)


IMAGE_TRAITS: Final = {
    "hw_cdrom_bus": "COMPUTE_STORAGE_BUS",
    "hw_disk_bus": "COMPUTE_STORAGE_BUS",
    "hw_rescue_bus": "COMPUTE_STORAGE_BUS",
    "hw_video_model": "COMPUTE_GRAPHICS_MODEL",
    "hw_vif_model": "COMPUTE_NET_VIF_MODEL",
    "hw_viommu_model": "COMPUTE_VIOMMU_MODEL",
    "hw_architecture": "HW_ARCH",
    "hw_emulation_architecture": "COMPUTE_ARCH",
}
"""image property -> beginning of the trait that its value ends"""


def accelerators_filter(request: Request, _: Model) -> Request:
    return _require(request, "COMPUTE_ACCELERATORS") if "accel:device_profile" in request.extra_specs else request


def packed_virtqueue_filter(request: Request, _: Model) -> Request:
    asked = _either(request, "hw:virtio_packed_ring", "hw_virtio_packed_ring")
    return _require(request, "COMPUTE_NET_VIRTIO_PACKED") if asked.lower() in TRUE else request


def ephemeral_encryption_filter(request: Request, _: Model) -> Request:
    if _either(request, "hw:ephemeral_encryption", "hw_ephemeral_encryption").lower() not in TRUE:
        return request
    kind = _either(request, "hw:ephemeral_encryption_format", "hw_ephemeral_encryption_format")
    traits = ["COMPUTE_EPHEMERAL_ENCRYPTION"] + ([f"COMPUTE_EPHEMERAL_ENCRYPTION_{_trait_word(kind)}"] if kind else [])
    return _require(request, *traits)


def virtio_sound_filter(request: Request, _: Model) -> Request:
    model = _either(request, "hw:sound_model", "hw_sound_model")
    return _require(request, "COMPUTE_SOUND_MODEL_VIRTIO") if model == "virtio" else request


def tpm_secret_security_filter(request: Request, _: Model) -> Request:
    if not _either(request, "hw:tpm_version", "hw_tpm_version"):
        return request
    kind = request.extra_specs.get("hw:tpm_secret_security", "")
    return _require(request, f"COMPUTE_SECURITY_TPM_SECRET_SECURITY_{_trait_word(kind)}") if kind else request


def owner_nova_filter(request: Request, model: Model) -> Request:
    """Only once every host has the trait, so that a site is never without hosts while it is upgraded."""
    owned = model.forest.with_trait["OWNER_NOVA"]
    if owned and bool(model.bearing(owned).all()):
        return _require(request, "OWNER_NOVA")
    return request


def without_networks(request: Request, _: Model) -> Request:
    """routed_networks_filter and remote_managed_ports_filter: no request has segments or ports without Neutron."""
    return request


REQUEST_FILTERS: Final[dict[str, RequestFilter]] = {
    "require_tenant_aggregate": require_tenant_aggregate,
    "map_az_to_placement_aggregate": map_az_to_placement_aggregate,
    "require_image_type_support": require_image_type_support,
    "compute_status_filter": compute_status_filter,
    "isolate_aggregates": isolate_aggregates,
    "transform_image_metadata": transform_image_metadata,
    "accelerators_filter": accelerators_filter,
    "packed_virtqueue_filter": packed_virtqueue_filter,
    "routed_networks_filter": without_networks,
    "remote_managed_ports_filter": without_networks,
    "ephemeral_encryption_filter": ephemeral_encryption_filter,
    "virtio_sound_filter": virtio_sound_filter,
    "tpm_secret_security_filter": tpm_secret_security_filter,
    "owner_nova_filter": owner_nova_filter,
}


def _require(request: Request, *traits: str) -> Request:
    return evolve(request, required=request.required | set(traits))


def _inside(request: Request, aggregates: Iterable[str], why: str) -> Request:
    return evolve(request, inside=(*request.inside, Membership(frozenset(aggregates), why)))


def _outside(request: Request, aggregates: Iterable[str], why: str) -> Request:
    return evolve(request, outside=(*request.outside, Membership(frozenset(aggregates), why)))


def _either(request: Request, spec: str, prop: str) -> str:
    """What the flavor says, else the image."""
    return request.extra_specs.get(spec) or request.properties.get(prop, "")


def _trait_word(value: str) -> str:
    return value.upper().replace("-", "_").replace(".", "_")


def _traits_of(aggregate: Aggregate) -> set[str]:
    pairs = aggregate.metadata.items()
    return {key.removeprefix("trait:") for key, value in pairs if key.startswith("trait:") and value == "required"}
