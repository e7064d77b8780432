"""`openstack resource ...`, `allocation candidate list` and `trait ...`, of the plug-in osc-placement, and what they
show."""

from uuid import uuid4

import pytest
from attrs import evolve, frozen

from tests.e2e.live import Cloud
from tests.e2e.typed import Typed


@frozen
class Placement(Typed):
    version: str = "1.39"
    option: str = "--os-placement-api-version"

    def provider(self, *totals: str) -> str:
        """A new one that offers these."""
        uuid = str(uuid4())
        self("resource provider create host-{u} --uuid {u}", u=uuid)
        offered = " ".join(f"--resource {total}" for total in totals)
        if offered:
            self(f"resource provider inventory set {{u}} {offered}", u=uuid)
        return uuid


@pytest.fixture
def typed(cloud: Cloud) -> Placement:
    return Placement(cloud)


def test_a_tree_of_providers(typed: Placement) -> None:
    root, child, name = str(uuid4()), str(uuid4()), f"root-{uuid4()}"
    made = typed.json("resource provider create {n} --uuid {u}", n=name, u=root)
    expected = {"uuid": root, "name": name, "generation": 0, "root_provider_uuid": root, "parent_provider_uuid": None}
    assert made == expected
    typed("resource provider create child-{u} --uuid {u} --parent-provider {p}", u=child, p=root)
    assert typed.json("resource provider list --name {n}", n=name) == [expected]
    listed = typed.json("resource provider list --in-tree {c}", c=child)
    assert {one["uuid"] for one in listed} == {root, child}
    shown = typed.json("resource provider show {c} --allocations", c=child)
    assert (shown["root_provider_uuid"], shown["allocations"]) == (root, {})
    assert "has child resource providers" in typed.fails("resource provider delete {r}", r=root)
    typed("resource provider set {c} --name renamed-{c}", c=child)
    assert typed.json("resource provider show {c}", c=child)["name"] == f"renamed-{child}"
    typed("resource provider delete {c}", c=child)
    typed("resource provider delete {r}", r=root)
    assert "No resource provider with uuid" in typed.fails("resource provider show {r}", r=root)


@pytest.mark.e2e
def test_inventories_and_usages(typed: Placement) -> None:
    uuid = typed.provider("VCPU=8", "VCPU:allocation_ratio=2.0", "MEMORY_MB=1024", "MEMORY_MB:reserved=24")
    offered = {one["resource_class"]: one for one in typed.json("resource provider inventory list {u}", u=uuid)}
    assert (offered["VCPU"]["allocation_ratio"], offered["MEMORY_MB"]["reserved"]) == (2.0, 24)
    typed("resource provider inventory class set {u} VCPU --total 4 --max_unit 2", u=uuid)
    assert typed.json("resource provider inventory show {u} VCPU", u=uuid)["max_unit"] == 2
    usages = {one["resource_class"]: one["usage"] for one in typed.json("resource provider usage show {u}", u=uuid)}
    assert usages == {"VCPU": 0, "MEMORY_MB": 0}
    typed("resource provider inventory delete {u} --resource-class MEMORY_MB", u=uuid)
    (left,) = typed.json("resource provider inventory list {u}", u=uuid)
    assert left["resource_class"] == "VCPU"
    typed("resource provider delete {u}", u=uuid)


def test_allocations(typed: Placement) -> None:
    one, two, consumer = typed.provider("VCPU=4", "DISK_GB=9"), typed.provider("VCPU=4"), str(uuid4())
    owner = "--project-id ours --user-id me --consumer-type INSTANCE"
    claim = f"resource provider allocation set {{c}} --allocation rp={{p}},VCPU={{n}},DISK_GB=1 {owner}"
    (made,) = typed.json(claim, c=consumer, p=one, n="3")
    assert (made["resource_provider"], made["resources"]) == (one, {"VCPU": 3, "DISK_GB": 1})
    assert "would exceed the capacity" in typed.fails(claim, c=str(uuid4()), p=one, n="2")
    (held,) = typed.json("resource provider allocation show {c}", c=consumer)
    assert (held["project_id"], held["user_id"], held["consumer_type"]) == ("ours", "me", "INSTANCE")
    found = typed.json("allocation candidate list --resource VCPU=2")
    rows = {row["resource provider"]: row for row in found if row["resource provider"] in (one, two)}
    assert rows.keys() == {two}
    assert (rows[two]["allocation"], rows[two]["inventory used/capacity"]) == ("VCPU=2", "VCPU=0/4")
    by_class = evolve(typed, version="1.37")  # later ones go by types of consumers, which the command does not know
    usage = {row["resource_class"]: row["usage"] for row in by_class.json("resource usage show ours --user-id me")}
    assert usage["VCPU"] == 3
    typed("resource provider allocation unset {c} --resource-class DISK_GB", c=consumer)
    (held,) = typed.json("resource provider allocation show {c}", c=consumer)
    assert held["resources"] == {"VCPU": 3}
    typed("resource provider allocation delete {c}", c=consumer)
    assert typed.json("resource provider allocation show {c}", c=consumer) == []
    for uuid in (one, two):
        typed("resource provider delete {u}", u=uuid)


@pytest.mark.e2e
def test_classes_traits_and_aggregates(typed: Placement) -> None:
    uuid, aggregate = typed.provider("VCPU=4"), str(uuid4())
    typed("resource class create CUSTOM_E2E")
    typed("resource class set CUSTOM_E2E")
    assert typed.json("resource class show CUSTOM_E2E") == {"name": "CUSTOM_E2E"}
    assert {"name": "CUSTOM_E2E"} in typed.json("resource class list")
    typed("trait create CUSTOM_E2E")
    assert typed.json("trait show CUSTOM_E2E") == {"name": "CUSTOM_E2E"}
    (trait,) = typed.json("resource provider trait set {u} --trait CUSTOM_E2E", u=uuid)
    assert [trait] == typed.json("resource provider trait list {u}", u=uuid) == [{"name": "CUSTOM_E2E"}]
    assert trait in typed.json("trait list --associated")
    assert "in use" in typed.fails("trait delete CUSTOM_E2E")
    typed("resource provider aggregate set {u} --aggregate {a} --generation 2", u=uuid, a=aggregate)
    assert typed.json("resource provider aggregate list {u}", u=uuid) == [{"uuid": aggregate}]
    (found,) = typed.json("resource provider list --member-of {a} --required CUSTOM_E2E --resource VCPU=4", a=aggregate)
    assert found["uuid"] == uuid
    (row,) = typed.json(
        "allocation candidate list --resource VCPU=4 --required CUSTOM_E2E --member-of {a}", a=aggregate
    )
    assert (row["resource provider"], row["traits"]) == (uuid, "CUSTOM_E2E")
    typed("resource provider trait delete {u}", u=uuid)
    typed("trait delete CUSTOM_E2E")
    typed("resource class delete CUSTOM_E2E")
    typed("resource provider delete {u}", u=uuid)


def test_who_is_no_admin_sees_nothing(demo: Cloud) -> None:
    assert "Policy does not allow" in Placement(demo).fails("resource provider list")
