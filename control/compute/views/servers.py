"""Servers, field by field: which microversions show it, to whom, and where it comes from."""

from collections.abc import Callable, Mapping
from functools import cache
from hashlib import sha224
from typing import Any, Final

from attrs import frozen

from control.compute.urls import Urls
from control.compute.views.moments import micros, seconds
from control.compute.views.status import UNKNOWN, WITH_FAULT, WITH_PROGRESS, status_of
from schemas.server import FlavorCopy, ImageRef, Instance

Json = dict[str, Any]

DEFAULT_SECURITY_GROUPS: Final = [{"name": "default"}]
IMAGE_PROPERTIES_SINCE: Final = 98


@frozen
class Viewer:
    """What the one who looks may see, as policy says."""

    version: int
    attributes: bool = False
    """os-extended-server-attributes"""
    host_status: bool = False
    unknown_only: bool = False
    """of the hosts' states only the one that says that nothing is known"""
    flavor_specs: bool = False
    fault_details: bool = False


@frozen
class Look:
    """One look at servers: who, through which URL, and what was fetched beside the records."""

    viewer: Viewer
    urls: Urls
    host_statuses: Mapping[str, str] = {}
    user_data: Mapping[str, str] = {}
    """base64, by server"""
    groups: Mapping[str, list[str]] = {}
    """uuids of server groups by server"""


@frozen
class Field:
    """A field that versions `since` to `until` show. `needs` is the attribute of Viewer that must be true."""

    name: str
    value: Callable[[Instance, Look], Any]
    since: int = 1
    until: int | None = None
    needs: str | None = None

    def shown_to(self, viewer: Viewer) -> bool:
        in_range = self.since <= viewer.version and (self.until is None or viewer.version <= self.until)
        return in_range and (self.needs is None or bool(getattr(viewer, self.needs)))


def host_id(project: str, host: str | None) -> str:
    """Tells a project's hosts apart without naming them."""
    return sha224((project + host).encode()).hexdigest() if host else ""


def status(server: Instance) -> str:
    return status_of(server.vm_state, server.task_state)


def addresses(server: Instance) -> Json:
    """By network, in the order in which the host reported them."""
    found: Json = {}
    for address in server.addresses:
        found.setdefault(address.network, []).append(
            {
                "version": address.version,
                "addr": address.ip,
                "OS-EXT-IPS:type": "fixed",
                "OS-EXT-IPS-MAC:mac_addr": address.mac,
            }
        )
    return found


def _image(server: Instance, look: Look) -> Any:
    if server.image is None:
        return ""
    shown: Json = {"id": server.image.id, "links": look.urls.bookmarks(f"images/{server.image.id}")}
    if look.viewer.version >= IMAGE_PROPERTIES_SINCE:
        shown["properties"] = _image_properties(server.image, server.flavor)
    return shown


def _image_properties(image: ImageRef, flavor: FlavorCopy) -> Json:
    """What the server took over from its image, all as strings; the flavor's disk is the least that a copy needs."""
    return {
        **image.properties,
        "base_image_ref": image.id,
        "container_format": image.container_format,
        "disk_format": image.disk_format,
        "min_disk": str(max(image.min_disk_gb, flavor.root_gb)),
        "min_ram": str(image.min_ram_mb),
    }


def _flavor_link(server: Instance, look: Look) -> Json:
    return {"id": server.flavor.id, "links": look.urls.bookmarks(f"flavors/{server.flavor.id}")}


def embedded_flavor(flavor: FlavorCopy, *, specs: bool) -> Json:
    shown = {
        "vcpus": flavor.vcpus,
        "ram": flavor.memory_mb,
        "disk": flavor.root_gb,
        "ephemeral": flavor.ephemeral_gb,
        "swap": flavor.swap_mb,
        "original_name": flavor.name,
    }
    return {**shown, "extra_specs": flavor.extra_specs} if specs else shown


def _flavor_embedded(server: Instance, look: Look) -> Json:
    return embedded_flavor(server.flavor, specs=look.viewer.flavor_specs)


def _links(server: Instance, look: Look) -> Any:
    return look.urls.links(f"servers/{server.uuid}")


def _fault(server: Instance, look: Look) -> Json | None:
    fault = server.fault
    if fault is None or status(server) not in WITH_FAULT:
        return None
    shown: Json = {"code": fault.code, "created": seconds(fault.created), "message": fault.message}
    if fault.details and (look.viewer.fault_details or fault.code != 500):
        shown["details"] = fault.details
    return shown


def _progress(server: Instance, _: Look) -> int | None:
    return server.progress if status(server) in WITH_PROGRESS else None


def _host_status(server: Instance, look: Look) -> str | None:
    return look.host_statuses.get(server.uuid, None if look.viewer.unknown_only else "")


def _security_groups(server: Instance, _: Look) -> Any:
    return None if server.networks == "none" else DEFAULT_SECURITY_GROUPS


LEFT_OUT_WHEN_NONE: Final = frozenset({"fault", "progress", "security_groups", "host_status"})

FIELDS: Final = (
    Field("id", lambda s, _: s.uuid),
    Field("name", lambda s, _: s.name),
    Field("status", lambda s, _: status(s)),
    Field("tenant_id", lambda s, _: s.project),
    Field("user_id", lambda s, _: s.user),
    Field("metadata", lambda s, _: s.metadata),
    Field("hostId", lambda s, _: host_id(s.project, s.host)),
    Field("image", _image),
    Field("flavor", _flavor_link, until=46),
    Field("flavor", _flavor_embedded, since=47),
    Field("created", lambda s, _: seconds(s.created)),
    Field("updated", lambda s, _: seconds(s.updated)),
    Field("addresses", lambda s, _: addresses(s)),
    Field("accessIPv4", lambda s, _: s.access_ip_v4 or ""),
    Field("accessIPv6", lambda s, _: s.access_ip_v6 or ""),
    Field("links", _links),
    Field("OS-DCF:diskConfig", lambda s, _: s.disk_config),
    Field("fault", _fault),
    Field("progress", _progress),
    Field("locked", lambda s, _: s.locked, since=9),
    Field("locked_reason", lambda s, _: s.locked_reason, since=73),
    Field("description", lambda s, _: s.description, since=19),
    Field("tags", lambda s, _: sorted(s.tags), since=26),
    Field("trusted_image_certificates", lambda s, _: list(s.trusted_certs) or None, since=63),
)
"""What every full view has, that of PUT included."""

EXTENSION_FIELDS: Final = (
    Field("OS-EXT-AZ:availability_zone", lambda s, _: s.availability_zone or ""),
    Field("config_drive", lambda s, _: "True" if s.config_drive else ""),
    Field("key_name", lambda s, _: s.key.name if s.key else None),
    Field("OS-SRV-USG:launched_at", lambda s, _: micros(s.launched)),
    Field("OS-SRV-USG:terminated_at", lambda s, _: micros(s.terminated)),
    Field("security_groups", _security_groups),
    Field("OS-EXT-STS:task_state", lambda s, _: s.task_state),
    Field("OS-EXT-STS:vm_state", lambda s, _: s.vm_state),
    Field("OS-EXT-STS:power_state", lambda s, _: s.power_state),
    Field("os-extended-volumes:volumes_attached", lambda *_: []),
    Field("host_status", _host_status, since=16, needs="host_status"),
    Field("OS-EXT-SRV-ATTR:host", lambda s, _: s.host, needs="attributes"),
    Field("OS-EXT-SRV-ATTR:hypervisor_hostname", lambda s, _: s.node, needs="attributes"),
    Field("OS-EXT-SRV-ATTR:instance_name", lambda s, _: s.instance_name, needs="attributes"),
    Field("OS-EXT-SRV-ATTR:reservation_id", lambda s, _: s.reservation, since=3, needs="attributes"),
    Field("OS-EXT-SRV-ATTR:launch_index", lambda s, _: s.launch_index, since=3, needs="attributes"),
    Field("OS-EXT-SRV-ATTR:hostname", lambda s, _: s.hostname, since=3, until=89, needs="attributes"),
    Field("OS-EXT-SRV-ATTR:hostname", lambda s, _: s.hostname, since=90),
    Field("OS-EXT-SRV-ATTR:kernel_id", lambda *_: "", since=3, needs="attributes"),
    Field("OS-EXT-SRV-ATTR:ramdisk_id", lambda *_: "", since=3, needs="attributes"),
    Field("OS-EXT-SRV-ATTR:root_device_name", lambda *_: "/dev/vda", since=3, needs="attributes"),
    Field("OS-EXT-SRV-ATTR:user_data", lambda s, k: k.user_data.get(s.uuid), since=3, needs="attributes"),
    Field("pinned_availability_zone", lambda s, _: s.pinned_zone, since=96),
    Field("scheduler_hints", lambda s, _: s.scheduler_hints, since=100),
)
"""What show and detail have besides; PUT has it from 2.75 on."""

SINGLE_FIELDS: Final = (Field("server_groups", lambda s, k: k.groups.get(s.uuid, []), since=71),)
"""What lists leave out."""


@cache
def _shown(viewer: Viewer, extended: bool, single: bool) -> tuple[Field, ...]:
    fields = FIELDS + (EXTENSION_FIELDS if extended else ()) + (SINGLE_FIELDS if single else ())
    return tuple(f for f in fields if f.shown_to(viewer))


def server(instance: Instance, look: Look, *, extended: bool = True, single: bool = True) -> Json:
    """The body of show (without its envelope); not `extended`, that of an old PUT; not `single`, a detailed list's."""
    body = {f.name: f.value(instance, look) for f in _shown(look.viewer, extended, single)}
    for name in LEFT_OUT_WHEN_NONE:
        if body.get(name, body) is None:
            del body[name]
    return body


def brief(instance: Instance, urls: Urls, *, down: bool = False) -> Json:
    """`down`: its cell does not answer, so that its name is not known."""
    known = {"status": UNKNOWN} if down else {"name": instance.name}
    return {"id": instance.uuid, **known, "links": urls.links(f"servers/{instance.uuid}")}


def created(instance: Instance, urls: Urls, password: str | None, security_groups: list[Json]) -> Json:
    """The answer to a create."""
    body = {
        "id": instance.uuid,
        "links": urls.links(f"servers/{instance.uuid}"),
        "OS-DCF:diskConfig": instance.disk_config,
        "security_groups": security_groups,
    }
    return {**body, "adminPass": password} if password is not None else body


def unreachable(instance: Instance, look: Look, *, single: bool) -> Json:
    """What is known of a server whose cell does not answer, from 2.69 on."""
    body: Json = {
        "id": instance.uuid,
        "status": UNKNOWN,
        "tenant_id": instance.project,
        "created": seconds(instance.created),
        "links": _links(instance, look),
    }
    if single:
        body |= {
            "user_id": instance.user,
            "image": _image(instance, look),
            "flavor": _flavor_embedded(instance, look),
            "OS-EXT-AZ:availability_zone": instance.availability_zone or UNKNOWN,
            "OS-EXT-STS:power_state": 0,
        }
        if look.viewer.version >= 71:
            body["server_groups"] = look.groups.get(instance.uuid, [])
    return body
