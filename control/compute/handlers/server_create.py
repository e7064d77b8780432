"""Create: from a validated body to a draft, and what refuses it."""

import secrets
from typing import Any, Final

from attrs import frozen

from control.cells.aggregates import list_aggregates
from control.cells.hosts import list_hosts
from control.compute.call import Answer, Call
from control.compute.flavors_store import visible
from control.compute.schemas.common import address, number, truth
from control.compute.views import servers as views
from control.compute.views.hosts import hypervisor_name
from control.placement.guest_cells import guest_cells
from control.placement.pci import pci_requests
from control.servers.create import ServerDraft, create_servers
from control.servers.quota import LimitRecords, Limits, limit_keys
from kv.keys import Global, Key
from kv.txn import Stored
from schemas.errors import BadRequest, Forbidden, QuotaExceeded
from schemas.flavor import Flavor
from schemas.guest import KeyPairData
from schemas.identity import Identity
from schemas.image import Image

GIB: Final = 1 << 30
_PASSWORD_LETTERS: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
"""none that looks like another"""
PASSWORD_LENGTH: Final = 12
MOST_SERVERS: Final = 10_000
"""of one request, whatever the quota: they are made in memory before they are charged"""


def _most(limits: Limits, low: int, high: int) -> int:
    """How many of the `low` to `high` servers that are asked for can ever fit the quota: no more are made. When not
    even `low` fit, the quota's own words are said where they are charged.

    Raises BadRequest for more than a request may create, if the quota is no smaller.
    """
    of_quota = [each["instances"] for each in (limits.project, limits.user) if each["instances"] >= 0]
    if low > MOST_SERVERS and all(limit >= low for limit in of_quota):
        raise BadRequest(f"min_count is {low}: a request creates at most {MOST_SERVERS} servers, send several")
    return max(1, min(high, MOST_SERVERS, *of_quota))


async def create(call: Call) -> Answer:
    asked = call.body["server"]
    low = number(asked.get("min_count", 1))
    high = number(asked.get("max_count", low))
    if low > high:
        raise BadRequest("min_count must be <= max_count")
    if high > 1 and asked.get("hostname"):
        raise BadRequest("Unable to allocate a single hostname to multiple instances")
    place = await _place(call, asked.get("availability_zone"))
    requested = await _requested_host(call, asked, place)
    image_id = _image_id(asked)
    networks = _networks(asked.get("networks"))
    groups = _security_groups(asked.get("security_groups"))
    hints = call.body.get("os:scheduler_hints") or call.body.get("OS-SCH-HNT:scheduler_hints") or {}
    await _check_group(call, hints.get("group"))
    if asked.get("personality"):
        raise BadRequest("Injected files are not supported here: use user_data with a config drive")
    needs = await _read(call, str(asked["flavorRef"]), image_id, asked.get("key_name"))
    _check_metadata(asked.get("metadata", {}), needs.limits.limits.user["metadata_items"])
    _check_fit(call, needs.flavor, needs.image)
    _check_topology(call, needs.flavor, needs.image)
    password = asked.get("adminPass") or make_password()
    name = asked["name"].strip()
    draft = ServerDraft(
        name=name,
        flavor=needs.flavor,
        image=needs.image,
        min_count=low,
        max_count=_most(needs.limits.limits, low, high),
        hostname=asked.get("hostname"),
        metadata=asked.get("metadata", {}),
        tags=tuple(dict.fromkeys(asked.get("tags", ()))),
        description=asked.get("description") if call.version >= 19 else name,
        key=needs.key,
        user_data=asked.get("user_data"),
        config_drive=truth(asked.get("config_drive", False)),
        networks=networks,
        availability_zone=place.zone,
        forced_host=place.host,
        requested_host=requested,
        scheduler_hints=hints,
        group=hints.get("group"),
        disk_config=asked.get("OS-DCF:diskConfig", "MANUAL"),
        access_ip_v4=address(asked.get("accessIPv4")),
        access_ip_v6=address(asked.get("accessIPv6")),
        admin_password=_sealed(call, asked, password),
        trusted_certs=tuple(asked.get("trusted_image_certificates") or ()),
    )
    reservation, servers = await create_servers(call.top, call.identity, draft, needs.limits)
    if truth(asked.get("return_reservation_id", False)):
        return Answer({"reservation_id": reservation})
    body = {"server": views.created(servers[0], call.urls, password, groups)}
    return Answer(body, location=call.urls.own(f"servers/{servers[0].uuid}"))


def _sealed(call: Call, asked: dict[str, Any], password: str) -> str | None:
    """Encrypted under the site key; None when no config drive is going to tell it to the guest."""
    told = truth(asked.get("config_drive", False)) or asked.get("user_data") or asked.get("key_name")
    return call.top.key.encrypt(password.encode()) if told else None


def make_password() -> str:
    letters, number = "", secrets.randbelow(len(_PASSWORD_LETTERS) ** PASSWORD_LENGTH)  # asks the kernel once
    for _ in range(PASSWORD_LENGTH):
        number, digit = divmod(number, len(_PASSWORD_LETTERS))
        letters += _PASSWORD_LETTERS[digit]
    return letters


@frozen
class _Place:
    zone: str | None = None
    host: str | None = None


async def _place(call: Call, asked: str | None) -> _Place:
    """`zone`, or `zone:host[:node]` (`zone::node`) for who may force a host. Raises BadRequest, Forbidden."""
    if not asked:
        return _Place()
    parts = asked.strip().split(":")
    if len(parts) > 3 or (len(parts) == 3 and not any(parts[1:])):
        raise BadRequest("Unable to parse availability_zone")
    zone, host, node = (*parts, "", "")[:3]
    named = zone and zone != call.top.settings.scheduler.default_availability_zone
    if named and zone not in {a.zone for a in await list_aggregates(call.top)}:
        raise BadRequest("The requested availability zone is not available")
    if host or node:
        call.check("servers:create:forced_host")
    if node:
        nodes = {hypervisor_name(view): view.mapping.host for view in await list_hosts(call.top)}
        if node not in nodes or (host and nodes[node] != host):
            raise BadRequest(f"Compute host {host or node} could not be found.")
        host = nodes[node]
    return _Place(zone or None, host or None)


async def _check_group(call: Call, group: str | None) -> None:
    """Raises BadRequest for a server group that is not there or not the asker's."""
    if group is not None:
        stored = await call.top.store.get(Global.GROUPS(group))
        if stored is None or not (stored.value.project == call.identity.project or call.identity.is_admin):
            raise BadRequest(f"Instance group {group} could not be found.")


async def _requested_host(call: Call, asked: dict[str, Any], place: _Place) -> str | None:
    """The host of 2.74's `host` and `hypervisor_hostname`: unlike a forced one it must pass the scheduler's filters.
    Raises BadRequest, Forbidden."""
    host, node = asked.get("host"), asked.get("hypervisor_hostname")
    if not host and not node:
        return None
    call.check("compute:servers:create:requested_destination")
    if place.host:
        raise BadRequest("A host in availability_zone cannot be combined with host or hypervisor_hostname.")
    for view in await list_hosts(call.top):
        if host in (None, view.mapping.host) and node in (None, hypervisor_name(view)):
            return view.mapping.host
    raise BadRequest(f"Compute host {host or node} could not be found.")


def _image_id(asked: dict[str, Any]) -> str:
    """The image to boot from. The one block device accepted is that image on the host's local disk."""
    if asked.get("block_device_mapping"):
        raise BadRequest("Block Device Mapping is Invalid: no volume service is configured")
    image = asked.get("imageRef") or ""
    devices = asked.get("block_device_mapping_v2") or []
    for device in devices:
        ident = device.get("uuid") or device.get("image_id")
        trivial = (
            len(devices) == 1
            and device.get("source_type") == "image"
            and device.get("destination_type", "local") == "local"
            and str(device.get("boot_index")) == "0"
            and ident
            and image in ("", ident)
        )
        if not trivial:
            raise BadRequest(
                "Block Device Mapping is Invalid: no volume service is configured, so the only device can be the "
                "image, with boot_index 0 and destination_type local"
            )
        image = ident
    if not image:
        raise BadRequest("Invalid imageRef provided.")
    return str(image)


def _networks(asked: Any) -> str:
    """`auto` or `none`. Raises BadRequest for networks or ports by id."""
    if asked is None or asked == []:
        return "auto"
    if isinstance(asked, str):
        return asked
    raise BadRequest("No network service is configured: networks can be 'auto' or 'none', not a list")


def _security_groups(asked: list[dict[str, str]] | None) -> list[dict[str, str]]:
    for group in asked or []:
        if group.get("name") != "default":
            raise BadRequest(f"Unable to find security_group with name or id '{group.get('name')}'")
    return [{"name": g["name"]} for g in asked] if asked else [{"name": "default"}]


def _check_metadata(metadata: dict[str, str], limit: int) -> None:
    if 0 <= limit < len(metadata):
        raise QuotaExceeded(f"Maximum number of metadata items exceeds {limit}")


@frozen
class _Needs:
    """What a create reads, all as of one revision."""

    flavor: Flavor
    image: Image
    key: KeyPairData | None
    limits: LimitRecords


async def _read(call: Call, flavor_id: str, image_id: str, key_name: str | None) -> _Needs:
    """Raises BadRequest for what is not there or not for the asker."""
    keys: list[Key[Any]] = [
        Global.FLAVORS(flavor_id),
        Global.IMAGES(image_id),
        *limit_keys(call.identity.project, call.identity.user),
        *([Global.KEYPAIRS(call.identity.user, key_name)] if key_name is not None else []),
    ]
    records: tuple[Stored[Any] | None, ...] = await call.top.store.read(*keys)
    flavor, image, _, _, _, *pairs = [s.value if s else None for s in records]
    _, _, own_limits, project_limits, default_limits, *_ = records
    if flavor is None or not visible(flavor, call.identity):
        raise BadRequest(f"Flavor {flavor_id} could not be found.")
    if image is None or not usable(image, call.identity):
        raise BadRequest("Can not find requested image")
    if image.status != "active":
        raise BadRequest(f"Image {image.id} is not active.")
    key = None
    if key_name is not None:
        pair = pairs[0]
        if pair is None:
            raise BadRequest("Invalid key_name provided.")
        key = KeyPairData(pair.name, pair.public_key, pair.type)
    limit_records = limit_keys(call.identity.project, call.identity.user)
    return _Needs(flavor, image, key, LimitRecords(limit_records, (own_limits, project_limits, default_limits)))


def usable(image: Image, identity: Identity) -> bool:
    return image.owner == identity.project or image.visibility in ("public", "community") or identity.is_admin


def _check_fit(call: Call, flavor: Flavor, image: Image) -> None:
    """Raises BadRequest when the image asks for more than the flavor has."""
    if flavor.memory_mb < image.min_ram_mb:
        raise BadRequest("Flavor's memory is too small for requested image.")
    if flavor.root_gb == 0:
        if not call.allows("servers:create:zero_disk_flavor"):
            raise Forbidden("Only volume-backed servers are allowed for flavors with zero disk.")
        return
    disk, size = flavor.root_gb * GIB, max(image.size or 0, image.virtual_size or 0)
    if size > disk:
        raise BadRequest(
            f"Flavor's disk is too small for requested image. Flavor disk is {disk} bytes, image is {size} bytes."
        )
    if image.min_disk_gb > flavor.root_gb:
        raise BadRequest(
            "Flavor's disk is smaller than the minimum size specified in image metadata. "
            f"Flavor disk is {disk} bytes, minimum size is {image.min_disk_gb * GIB} bytes."
        )


def _check_topology(call: Call, flavor: Flavor, image: Image) -> None:
    """Raises BadRequest when they ask for processors, NUMA cells, pages or devices as no host could give them."""
    guest_cells(flavor.vcpus, flavor.memory_mb, flavor.extra_specs, image.properties)
    pci_requests(flavor.extra_specs, call.top.settings.pci.alias, image.properties)
