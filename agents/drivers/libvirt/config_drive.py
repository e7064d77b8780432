"""What a guest finds on its config drive. Pure: a tree of paths and bytes; `iso` writes it to a disk.

The layout and the keys are Nova's (OpenStack versions since 2012-08-10, EC2's 2009-04-04), which cloud-init reads.
"""

import base64
from collections.abc import Mapping
from typing import Final

import orjson

from schemas.guest import GuestSpec

OPENSTACK_VERSIONS: Final = (
    "2012-08-10",
    "2013-04-04",
    "2013-10-17",
    "2015-10-15",
    "2016-06-30",
    "2016-10-06",
    "2017-02-22",
    "2018-08-27",
    "2020-10-14",
    "2025-04-04",
)
EC2_VERSIONS: Final = ("2009-04-04",)
"""Nova's older ones are skipped on config drives by its default"""

_SINCE: Final = {
    "random_seed": "2013-04-04",
    "vendor_data.json": "2013-10-17",
    "project_id": "2015-10-15",
    "network_data.json": "2015-10-15",
    "devices": "2016-06-30",
    "vendor_data2.json": "2016-10-06",
    "dedicated_cpus": "2020-10-14",
}
"""the first version that has a file or a key of meta_data.json"""


def config_drive(spec: GuestSpec, random_seed: bytes, dhcp_domain: str) -> dict[str, bytes]:
    """Path on the drive -> content. `random_seed` is fresh entropy for the guest, 512 bytes as in Nova."""
    tree: dict[str, bytes] = {}
    for version in (*OPENSTACK_VERSIONS, "latest"):
        for name, content in _openstack_files(spec, version, random_seed, dhcp_domain).items():
            tree[f"openstack/{version}/{name}"] = content
    for version in (*EC2_VERSIONS, "latest"):
        tree[f"ec2/{version}/meta-data.json"] = orjson.dumps(_ec2_metadata(spec, dhcp_domain))
        if spec.user_data is not None:
            tree[f"ec2/{version}/user-data"] = _user_data(spec.user_data)
    return tree


def _has(version: str, name: str) -> bool:
    return version == "latest" or version >= _SINCE[name]


def _openstack_files(spec: GuestSpec, version: str, random_seed: bytes, dhcp_domain: str) -> dict[str, bytes]:
    files = {"meta_data.json": orjson.dumps(_metadata(spec, version, random_seed, dhcp_domain))}
    if spec.user_data is not None:
        files["user_data"] = _user_data(spec.user_data)
    for name, content in (
        ("vendor_data.json", {}),
        ("vendor_data2.json", {}),
        ("network_data.json", _network_data(spec)),
    ):
        if _has(version, name):
            files[name] = orjson.dumps(content)
    return files


def _metadata(spec: GuestSpec, version: str, random_seed: bytes, dhcp_domain: str) -> Mapping[str, object]:
    data: dict[str, object] = {
        "uuid": spec.mark.server,
        "name": spec.name,
        "hostname": _fqdn(spec, dhcp_domain),
        "launch_index": spec.launch_index,
        "availability_zone": spec.availability_zone,
    }
    if spec.metadata:
        data["meta"] = spec.metadata
    if spec.key is not None:
        data["public_keys"] = {spec.key.name: spec.key.public_key}
        data["keys"] = [{"name": spec.key.name, "type": spec.key.type, "data": spec.key.public_key}]
    if spec.admin_password is not None:
        data["admin_pass"] = spec.admin_password
    later: dict[str, object] = {
        "random_seed": base64.b64encode(random_seed).decode(),
        "project_id": spec.mark.project,
        "devices": [],
        "dedicated_cpus": [],
    }
    return data | {name: value for name, value in later.items() if _has(version, name)}


def _network_data(spec: GuestSpec) -> Mapping[str, object]:
    """Addresses come by DHCP, so only links are told. Ids follow Nova: tap and the start of what identifies a NIC."""
    links = [
        {
            "id": f"tap{nic.mac.replace(':', '')[-11:]}",
            "vif_id": nic.mac,
            "type": "phy",
            "mtu": None,
            "ethernet_mac_address": nic.mac,
        }
        for nic in spec.nics
    ]
    networks = [
        {"id": f"network{number}", "type": "ipv4_dhcp", "link": link["id"], "network_id": nic.network}
        for number, (nic, link) in enumerate(zip(spec.nics, links, strict=True))
    ]
    return {"links": links, "networks": networks, "services": []}


def _ec2_metadata(spec: GuestSpec, dhcp_domain: str) -> Mapping[str, object]:
    """EC2's ids are eight hex digits, here the first of the UUIDs. Addresses are not known before DHCP."""
    name = _fqdn(spec, dhcp_domain)
    data: dict[str, object] = {
        "instance-id": f"i-{spec.mark.server[:8]}",
        "ami-id": f"ami-{spec.image.id[:8]}" if spec.image else "None",
        "ami-launch-index": spec.launch_index,
        "ami-manifest-path": "FIXME",
        "block-device-mapping": {"ami": "vda", "root": "/dev/vda"},
        "hostname": name,
        "local-hostname": name,
        "public-hostname": name,
        "instance-action": "none",
        "placement": {"availability-zone": spec.availability_zone},
        "reservation-id": f"r-{spec.mark.server[:8]}",
        "security-groups": [],
    }
    if spec.key is not None:
        data["public-keys"] = {"0": {"openssh-key": spec.key.public_key}}
    return data


def _fqdn(spec: GuestSpec, dhcp_domain: str) -> str:
    return f"{spec.hostname}.{dhcp_domain}" if dhcp_domain else spec.hostname


def _user_data(encoded: str) -> bytes:
    return base64.b64decode(encoded)
