"""What a server looks like by microversion and to whom."""

from datetime import UTC, datetime
from hashlib import sha224
from typing import Any

import pytest
from attrs import evolve

from control.compute.urls import Urls
from control.compute.views import servers as views
from control.compute.views.servers import Look, Viewer
from control.compute.views.status import status_of
from schemas.guest import Address, KeyPairData
from schemas.server import Fault, FlavorCopy, ImageRef, Instance

URLS = Urls("http://api:8774/compute")
AT = datetime(2026, 1, 2, 3, 4, 5, 678, UTC)
SERVER = Instance(
    uuid="5f2a2b1e-0000-4000-8000-000000000001",
    project="p1",
    user="u1",
    name="web",
    hostname="web",
    created=AT,
    updated=AT,
    flavor=FlavorCopy("1", "tiny", 1, 512, 1, extra_specs={"hw:mem": "x"}),
    image=ImageRef("img"),
    vm_state="active",
    power_state=1,
    host="h1",
    node="h1.example",
    instance_name="instance-5f2a2b1e",
    launched=AT,
    metadata={"a": "b"},
    tags=("z", "a"),
    description="said",
    key=KeyPairData("mine", "ssh-ed25519 AAAA"),
    availability_zone="nova",
    addresses=(Address("private", "fa:16:3e:00:00:01", "192.0.2.5"),),
    reservation="r-12345678",
)

BASE = {
    *("id", "name", "status", "tenant_id", "user_id", "metadata", "hostId", "image", "flavor", "created", "updated"),
    *("addresses", "accessIPv4", "accessIPv6", "links", "OS-DCF:diskConfig", "progress", "config_drive", "key_name"),
    *("OS-EXT-AZ:availability_zone", "OS-SRV-USG:launched_at", "OS-SRV-USG:terminated_at", "security_groups"),
    *("OS-EXT-STS:task_state", "OS-EXT-STS:vm_state", "OS-EXT-STS:power_state"),
    "os-extended-volumes:volumes_attached",
}
ATTRIBUTES = {f"OS-EXT-SRV-ATTR:{name}" for name in ("host", "hypervisor_hostname", "instance_name")}
MORE_ATTRIBUTES = {"reservation_id", "launch_index", "hostname", "kernel_id", "ramdisk_id", "root_device_name"}
MORE_ATTRIBUTES = {f"OS-EXT-SRV-ATTR:{name}" for name in MORE_ATTRIBUTES | {"user_data"}}


NEWEST = {"locked", "locked_reason", "description", "tags", "trusted_image_certificates", "server_groups"}


def shown(
    version: int, *, admin: bool = False, server: Instance = SERVER, extended: bool = True, single: bool = True
) -> dict[str, Any]:
    viewer = Viewer(version, admin, admin, flavor_specs=True, fault_details=admin)
    look = Look(viewer, URLS, {server.uuid: "UP"}, {server.uuid: "ZGF0YQ=="})
    return views.server(server, look, extended=extended, single=single)


@pytest.mark.parametrize(
    ("version", "admin", "fields"),
    [
        (1, False, BASE),
        (1, True, BASE | ATTRIBUTES),
        (3, True, BASE | ATTRIBUTES | MORE_ATTRIBUTES),
        (3, False, BASE),
        (9, False, BASE | {"locked"}),
        (16, True, BASE | ATTRIBUTES | MORE_ATTRIBUTES | {"locked", "host_status"}),
        (19, False, BASE | {"locked", "description"}),
        (26, False, BASE | {"locked", "description", "tags"}),
        (63, False, BASE | {"locked", "description", "tags", "trusted_image_certificates"}),
        (85, False, BASE | NEWEST),
        (90, False, BASE | NEWEST | {"OS-EXT-SRV-ATTR:hostname"}),
        (96, False, BASE | NEWEST | {"OS-EXT-SRV-ATTR:hostname", "pinned_availability_zone"}),
        (100, False, BASE | NEWEST | {"OS-EXT-SRV-ATTR:hostname", "pinned_availability_zone", "scheduler_hints"}),
    ],
)
def test_fields_by_version_and_viewer(version: int, admin: bool, fields: set[str]) -> None:
    assert set(shown(version, admin=admin)) == fields


def test_values() -> None:
    body = shown(1, admin=True)
    path = f"servers/{SERVER.uuid}"
    assert body["links"] == [
        {"rel": "self", "href": f"http://api:8774/compute/v2.1/{path}"},
        {"rel": "bookmark", "href": f"http://api:8774/compute/{path}"},
    ]
    assert body["hostId"] == sha224(b"p1h1").hexdigest()
    assert body["created"] == "2026-01-02T03:04:05Z"
    assert body["OS-SRV-USG:launched_at"] == "2026-01-02T03:04:05.000678"
    assert body["addresses"] == {
        "private": [
            {
                "version": 4,
                "addr": "192.0.2.5",
                "OS-EXT-IPS:type": "fixed",
                "OS-EXT-IPS-MAC:mac_addr": "fa:16:3e:00:00:01",
            }
        ]
    }
    assert body["image"] == {
        "id": "img",
        "links": [{"rel": "bookmark", "href": "http://api:8774/compute/images/img"}],
    }
    assert body["OS-EXT-SRV-ATTR:hypervisor_hostname"] == "h1.example"


def test_a_flavor_is_a_link_up_to_2_46_and_embedded_after() -> None:
    assert shown(46)["flavor"]["id"] == "1"
    assert shown(47)["flavor"] == {
        "vcpus": 1,
        "ram": 512,
        "disk": 1,
        "ephemeral": 0,
        "swap": 0,
        "original_name": "tiny",
        "extra_specs": {"hw:mem": "x"},
    }


def test_the_image_s_properties_are_embedded_since_2_98() -> None:
    taken = ImageRef("img", disk_format="raw", properties={"hw_disk_bus": "virtio"}, min_ram_mb=64)
    server = evolve(SERVER, image=taken)
    assert "properties" not in shown(97, server=server)["image"]
    assert shown(98, server=server)["image"]["properties"] == {
        "hw_disk_bus": "virtio",
        "base_image_ref": "img",
        "container_format": "bare",
        "disk_format": "raw",
        "min_disk": "1",
        "min_ram": "64",
    }


def test_a_list_leaves_groups_out() -> None:
    assert "server_groups" not in shown(85, single=False)


def test_tags_are_sorted() -> None:
    assert shown(26)["tags"] == ["a", "z"]


def test_a_server_without_host_image_or_key() -> None:
    body = shown(1, server=evolve(SERVER, host=None, image=None, key=None))
    assert (body["hostId"], body["image"], body["key_name"]) == ("", "", None)


def test_a_fault_shows_only_in_error_and_its_details_only_to_admins() -> None:
    fault = Fault(500, "No valid host was found.", AT, "trace")
    broken = evolve(SERVER, vm_state="error", fault=fault)
    assert shown(1, server=broken)["fault"] == {
        "code": 500,
        "created": "2026-01-02T03:04:05Z",
        "message": "No valid host was found.",
    }
    assert shown(1, server=broken, admin=True)["fault"]["details"] == "trace"
    assert "fault" not in shown(1, server=evolve(SERVER, fault=fault))
    assert "progress" not in shown(1, server=broken)


def test_put_shows_less_than_get() -> None:
    put = shown(26, extended=False)
    assert "OS-EXT-STS:vm_state" not in put
    assert {"locked", "description", "tags", "OS-DCF:diskConfig"} <= set(put)


@pytest.mark.parametrize(
    ("vm_state", "task_state", "status"),
    [
        ("active", None, "ACTIVE"),
        ("active", "rebooting", "REBOOT"),
        ("active", "reboot_started_hard", "HARD_REBOOT"),
        ("active", "powering-off", "ACTIVE"),
        ("stopped", None, "SHUTOFF"),
        ("stopped", "rebuild_spawning", "REBUILD"),
        ("building", "spawning", "BUILD"),
        ("resized", "resize_reverting", "REVERT_RESIZE"),
        ("resized", "resize_confirming", "VERIFY_RESIZE"),
        ("soft-delete", None, "SOFT_DELETED"),
        ("error", None, "ERROR"),
        ("unknown", None, "UNKNOWN"),
    ],
)
def test_status(vm_state: str, task_state: str | None, status: str) -> None:
    assert status_of(vm_state, task_state) == status


def test_an_unknown_host_alone_may_be_shown() -> None:
    viewer = Viewer(16, host_status=True, unknown_only=True)
    unknown = views.server(SERVER, Look(viewer, URLS, {SERVER.uuid: "UNKNOWN"}))
    assert unknown["host_status"] == "UNKNOWN"
    assert "host_status" not in views.server(SERVER, Look(viewer, URLS, {}))


def test_of_a_cell_that_does_not_answer_only_what_the_top_knows_is_shown() -> None:
    look = Look(Viewer(71, flavor_specs=True), URLS, groups={SERVER.uuid: ["g"]})
    listed = {"id", "status", "tenant_id", "created", "links"}
    assert set(views.unreachable(SERVER, look, single=False)) == listed
    shown = views.unreachable(SERVER, look, single=True)
    assert set(shown) - listed == {
        *("user_id", "image", "flavor", "OS-EXT-AZ:availability_zone", "OS-EXT-STS:power_state", "server_groups"),
    }
    assert (shown["status"], shown["OS-EXT-STS:power_state"]) == ("UNKNOWN", 0)
    brief = views.brief(SERVER, URLS, down=True)
    assert (set(brief), brief["status"]) == ({"id", "status", "links"}, "UNKNOWN")
    assert set(views.brief(SERVER, URLS)) == {"id", "name", "links"}
