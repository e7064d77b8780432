"""From a create request to its servers' records."""

import re

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from unit_records import NOW

from control.servers.draft import ServerDraft, hostname_of, image_ref, instances_of, mac_of
from schemas.flavor import Flavor
from schemas.guest import KeyPairData
from schemas.identity import Identity
from schemas.image import Image
from schemas.server import ImageRef

FLAVOR = Flavor("1", "tiny", vcpus=1, memory_mb=512, root_gb=1, extra_specs={"a": "b"})
ME = Identity("u1", "me", "p1", "project")
UUIDS = ["0a1b2c3d-0000-4000-8000-000000000001", "0a1b2c3e-0000-4000-8000-000000000002"]


@pytest.mark.parametrize(
    ("name", "hostname"),
    [
        ("web", "web"),
        ("Web Server_1.example", "web-server-1-example"),
        ("--web--", "web"),
        ("wéb ☃", "wb"),
        ("☃", "Server-x"),
        ("", "Server-x"),
        ("a" * 80, "a" * 63),
        ("a" * 62 + "-b", "a" * 62),
    ],
)
def test_a_name_becomes_a_host_name(name: str, hostname: str) -> None:
    assert hostname_of(name, "Server-x") == hostname


@given(st.text(max_size=100))
def test_any_name_becomes_one_that_dns_takes(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", hostname_of(name, "x"))


def test_one_server_bears_the_name_as_it_is() -> None:
    draft = ServerDraft("web", FLAVOR, None, metadata={"k": "v"}, key=KeyPairData("mine", "ssh-ed25519 x"))
    (server,) = instances_of(draft, ME, UUIDS[:1], "r-1", NOW)
    assert (server.name, server.hostname, server.launch_index, server.reservation) == ("web", "web", 0, "r-1")
    assert (server.vm_state, server.task_state, server.host, server.attempt) == ("building", "scheduling", None, 1)
    assert (server.project, server.user, server.created) == ("p1", "u1", NOW)
    assert server.flavor.extra_specs == {"a": "b"}
    assert server.metadata == {"k": "v"}
    assert server.instance_name == "instance-0a1b2c3d"
    assert server.macs == ("fa:16:3e:0a:1b:2c",)
    assert not server.has_user_data
    assert server.key == KeyPairData("mine", "ssh-ed25519 x")


def test_several_are_numbered_and_the_host_name_given_too() -> None:
    draft = ServerDraft("web", FLAVOR, None, max_count=2, hostname="www", user_data="aGk=")
    servers = instances_of(draft, ME, UUIDS, "r-1", NOW)
    assert [(s.name, s.hostname, s.launch_index) for s in servers] == [("web-1", "www-1", 0), ("web-2", "www-2", 1)]
    assert all(s.has_user_data for s in servers)
    without = instances_of(evolve(draft, hostname=None, name="☃"), ME, UUIDS, "r-1", NOW)
    assert [s.hostname for s in without] == ["1", "2"]


def test_no_network_means_no_interface() -> None:
    (server,) = instances_of(ServerDraft("web", FLAVOR, None, networks="none"), ME, UUIDS[:1], "r-1", NOW)
    assert (server.networks, server.macs) == ("none", ())


def test_a_zone_that_was_asked_for_is_pinned() -> None:
    (server,) = instances_of(ServerDraft("web", FLAVOR, None, availability_zone="z1"), ME, UUIDS[:1], "r-1", NOW)
    assert (server.availability_zone, server.pinned_zone) == ("z1", "z1")


def test_what_is_kept_of_an_image() -> None:
    image = Image("i1", None, "p1", NOW, NOW, size=5, digest="sha256:00", disk_format="raw", properties={"a": "b"})
    assert image_ref(image) == ImageRef("i1", "", "sha256:00", 5, "raw", {"a": "b"})


@given(st.uuids())
def test_a_mac_is_a_unicast_address_of_our_range(uuid: object) -> None:
    assert re.fullmatch(r"fa:16:3e(:[0-9a-f]{2}){3}", mac_of(str(uuid)))
