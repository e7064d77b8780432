"""The same with openstacksdk, which negotiates a microversion for each call by itself."""

from collections.abc import Iterator

import pytest
from openstack.connection import Connection
from substrate import eventually

from tests.e2e.live import Cloud


@pytest.fixture(scope="module")
def admin(site: Cloud) -> Iterator[Connection]:
    with site.sdk() as connection:
        yield connection


def test_reads(admin: Connection) -> None:
    compute = admin.compute
    assert [a.name for a in compute.availability_zones(details=True)][:1] == ["nova"]
    nodes = list(compute.hypervisors(details=True))
    assert {n.state for n in nodes} == {"up"}
    assert compute.get_hypervisor(nodes[0].id).service_details["host"]
    assert {s.binary for s in compute.services()} >= {"nova-compute"}
    assert compute.get_limits().absolute.instances == 10
    assert compute.get_quota_set(admin.current_project_id).instances == 10
    assert compute.get_quota_set(admin.current_project_id, usage=True).usage["instances"] == 0
    assert compute.get_quota_class_set("default").instances == 10
    assert list(compute.extensions())
    assert list(compute.usages()) == []
    assert list(compute.migrations()) == []


@pytest.mark.e2e
def test_what_an_operator_changes(admin: Connection) -> None:
    compute, project = admin.compute, admin.current_project_id
    aggregate = compute.create_aggregate(name="sdk-aggregate")
    assert compute.add_host_to_aggregate(aggregate, "sim-1").hosts == ["sim-1"]
    assert compute.set_aggregate_metadata(aggregate, {"ssd": "true"}).metadata == {"ssd": "true"}
    assert compute.update_aggregate(aggregate, name="sdk-other").name == "sdk-other"
    assert compute.remove_host_from_aggregate(aggregate, "sim-1").hosts == []
    compute.delete_aggregate(compute.find_aggregate("sdk-other"))
    group = compute.create_server_group(name="sdk-group", policy="affinity")
    assert group.id in {g.id for g in compute.server_groups()}
    compute.delete_server_group(group)
    (service,) = compute.services(host="sim-1", binary="nova-compute")
    assert compute.disable_service(service, disabled_reason="broken").disabled_reason == "broken"
    assert compute.enable_service(service).status == "enabled"
    assert compute.update_service_forced_down(service, forced=True).is_forced_down
    assert not compute.update_service_forced_down(service, forced=False).is_forced_down
    assert compute.update_quota_set(project, instances=12).instances == 12
    assert compute.get_quota_set_defaults(project).instances == 10
    compute.revert_quota_set(project)
    assert compute.get_quota_set(project).instances == 10
    flavor = compute.create_flavor(name="sdk-private", ram=1, vcpus=1, disk=1, is_public=False)
    compute.flavor_add_tenant_access(flavor, project)
    assert [access["tenant_id"] for access in compute.get_flavor_access(flavor)] == [project]
    compute.flavor_remove_tenant_access(flavor, project)
    compute.create_flavor_extra_specs(flavor, {"colour": "blue"})
    assert compute.update_flavor_extra_specs_property(flavor, "colour", "red") == "red"
    assert compute.get_flavor_extra_specs_property(flavor, "colour") == "red"
    compute.delete_flavor_extra_specs_property(flavor, "colour")
    assert compute.update_flavor(flavor.id, description="said").description == "said"
    compute.delete_flavor(flavor)


async def test_a_server_lives(admin: Connection) -> None:
    compute = admin.compute
    flavor = compute.create_flavor(name="sdk", ram=64, disk=1, vcpus=1)
    compute.create_flavor_extra_specs(flavor, {"colour": "blue"})
    assert compute.fetch_flavor_extra_specs(flavor).extra_specs == {"colour": "blue"}
    key = compute.create_keypair(name="sdk")
    image = admin.image.find_image("tiny", ignore_missing=False)
    server = compute.create_server(
        name="sdk", flavor_id=flavor.id, image_id=image.id, networks="none", key_name=key.name, tags=["one"]
    )
    server = compute.wait_for_server(server, interval=0.1, wait=60)
    assert (server.flavor.original_name, server.tags) == ("sdk", ["one"])
    assert server.pinned_availability_zone is None
    assert compute.find_server("sdk").id == server.id
    assert [s.id for s in compute.servers(details=False, name="sdk")] == [server.id]
    compute.set_server_metadata(server, a="b")
    assert compute.get_server_metadata(server).metadata == {"a": "b"}
    compute.delete_server_metadata(server, ["a"])
    compute.add_tag_to_server(server, "two")
    assert compute.get_server(server.id).fetch_tags(compute).tags == ["one", "two"]
    compute.update_server(server, description="said")
    compute.lock_server(server, locked_reason="mine")
    assert compute.get_server(server.id).locked_reason == "mine"
    compute.unlock_server(server)
    compute.stop_server(server)
    compute.wait_for_server(server, status="SHUTOFF", interval=0.1, wait=60)
    compute.start_server(server)
    compute.wait_for_server(server, interval=0.1, wait=60)
    assert compute.get_server_diagnostics(server).state == "running"
    actions = [a.action for a in compute.server_actions(server)]
    assert actions[-1] == "create"
    created = list(compute.server_actions(server))[-1]
    assert compute.get_server_action(created, server).events
    assert list(compute.server_ips(server)) == []
    compute.delete_server(server)
    await eventually(lambda: compute.find_server("sdk") is None, 30)
    compute.delete_keypair(key)
    compute.delete_flavor(flavor)
