"""What a guest is told on its config drive."""

import base64
import os
from pathlib import Path

import orjson
import pycdlib
from attrs import evolve

from agents.drivers.libvirt.config_drive import OPENSTACK_VERSIONS, config_drive
from agents.drivers.libvirt.iso import write_iso
from schemas.guest import GuestMark, GuestSpec, ImageGrant, KeyPairData, NicSpec

SERVER = "6b0c9c0a-2f0e-4a53-8d7e-0d3f3b6f0a11"
SPEC = GuestSpec(
    mark=GuestMark("site-a", SERVER, "project-1", 1, "op-1"),
    instance_name="instance-6b0c9c0a",
    name="Web 1",
    hostname="web-1",
    user="u",
    vcpus=1,
    memory_mb=512,
    root_gb=1,
    ephemeral_gb=0,
    swap_mb=0,
    image=ImageGrant("1a2b3c4d-0000-0000-0000-000000000000", "sha256:00", 1, "qcow2", "http://images.example/1"),
    nics=(NicSpec("52:54:00:aa:bb:01", "private"),),
    metadata={"role": "web"},
    user_data=base64.b64encode(b"#!/bin/sh\n").decode(),
    key=KeyPairData("me", "ssh-ed25519 AAAA me"),
    admin_password="secret",
    availability_zone="az1",
    launch_index=3,
)
SEED = bytes(range(256)) * 2


def tree(spec: GuestSpec = SPEC, dhcp_domain: str = "novalocal") -> dict[str, bytes]:
    return config_drive(spec, SEED, dhcp_domain)


def test_every_version_has_what_it_introduced_and_nothing_newer() -> None:
    files = {
        version: sorted(path.rsplit("/", 1)[1] for path in tree() if path.startswith(f"openstack/{version}/"))
        for version in (*OPENSTACK_VERSIONS, "latest")
    }
    whole = ["meta_data.json", "network_data.json", "user_data", "vendor_data.json", "vendor_data2.json"]
    assert files["2012-08-10"] == ["meta_data.json", "user_data"]
    assert files["2013-10-17"] == ["meta_data.json", "user_data", "vendor_data.json"]
    assert files["2015-10-15"] == ["meta_data.json", "network_data.json", "user_data", "vendor_data.json"]
    assert all(files[version] == whole for version in ("2016-10-06", "2020-10-14", "2025-04-04", "latest"))


def test_the_latest_metadata() -> None:
    assert orjson.loads(tree()["openstack/latest/meta_data.json"]) == {
        "uuid": SERVER,
        "name": "Web 1",
        "hostname": "web-1.novalocal",
        "launch_index": 3,
        "availability_zone": "az1",
        "project_id": "project-1",
        "meta": {"role": "web"},
        "public_keys": {"me": "ssh-ed25519 AAAA me"},
        "keys": [{"name": "me", "type": "ssh", "data": "ssh-ed25519 AAAA me"}],
        "admin_pass": "secret",
        "random_seed": base64.b64encode(SEED).decode(),
        "devices": [],
        "dedicated_cpus": [],
    }


def test_the_oldest_metadata_lacks_what_came_later() -> None:
    oldest = orjson.loads(tree()["openstack/2012-08-10/meta_data.json"])
    assert not oldest.keys() & {"random_seed", "project_id", "devices", "dedicated_cpus"}


def test_what_is_not_set_is_not_there() -> None:
    bare = tree(evolve(SPEC, metadata={}, user_data=None, key=None, admin_password=None), dhcp_domain="")
    metadata = orjson.loads(bare["openstack/latest/meta_data.json"])
    assert not metadata.keys() & {"meta", "public_keys", "keys", "admin_pass"}
    assert metadata["hostname"] == "web-1"
    assert not any("user" in path for path in bare)


def test_links_and_networks() -> None:
    data = orjson.loads(tree()["openstack/latest/network_data.json"])
    (link,), (network,) = data["links"], data["networks"]
    assert link["ethernet_mac_address"] == "52:54:00:aa:bb:01"
    assert (network["type"], network["link"], network["network_id"]) == ("ipv4_dhcp", link["id"], "private")


def test_the_ec2_tree() -> None:
    files = tree()
    assert files["ec2/latest/user-data"] == files["ec2/2009-04-04/user-data"] == b"#!/bin/sh\n"
    metadata = orjson.loads(files["ec2/latest/meta-data.json"])
    assert metadata["instance-id"] == "i-6b0c9c0a"
    assert metadata["local-hostname"] == "web-1.novalocal"
    assert metadata["placement"] == {"availability-zone": "az1"}
    assert metadata["public-keys"] == {"0": {"openssh-key": "ssh-ed25519 AAAA me"}}


def test_the_drive_bears_its_label_and_every_file_under_its_long_name(tmp_path: Path) -> None:
    path = tmp_path / "disk.config"
    files = tree()
    write_iso(files, "config-2", path)
    write_iso(files, "config-2", path)

    iso = pycdlib.PyCdlib()
    iso.open(str(path))
    assert iso.pvd.volume_identifier.rstrip() == b"config-2"
    for name in ("rr_path", "joliet_path"):
        for file, content in files.items():
            with iso.open_file_from_iso(**{name: f"/{file}"}) as stored:
                assert stored.read() == content
    iso.close()
    assert os.listdir(tmp_path) == ["disk.config"]
    assert path.stat().st_mode & 0o077 == 0
