"""What else can be said to the commands for compute: aggregates, server groups, and the options of all the others."""

from pathlib import Path
from typing import Final

import pytest
from substrate import eventually

from tests.e2e.live import Cloud
from tests.e2e.typed import Typed, name_for, until

pytestmark = pytest.mark.e2e


def named(rows: list[dict[str, str]]) -> set[str]:
    return {row["Name"] for row in rows}


def test_aggregates(typed: Typed) -> None:
    name, zone = name_for(typed, "aggregate"), name_for(typed, "zone")
    names, host = {"n": name, "z": zone, "o": f"other-{name}"}, "sim-1"
    made = typed.json("aggregate create --property ssd=true {n}", **names)
    assert (made["name"], made["hosts"], made["properties"]) == (name, [], {"ssd": "true"})
    assert typed.json("aggregate add host {n} {h}", h=host, **names)["hosts"] == [host]
    assert "already has host" in typed.fails("aggregate add host {n} {h}", h=host, **names)
    assert typed("aggregate cache image {n} tiny", **names) == ""
    assert "No Image found" in typed.fails("aggregate cache image {n} nothing", **names)
    typed("aggregate set --name {o} --zone {z} --property rack=7 {n}", **names)
    shown = typed.json("aggregate show {o}", **names)
    assert (shown["availability_zone"], shown["properties"]) == (zone, {"ssd": "true", "rack": "7"})
    assert zone in {z["Zone Name"] for z in typed.json("availability zone list --compute")}
    assert typed.json("compute service list --host {h}", h=host)[0]["Zone"] == zone
    typed("aggregate unset --property ssd {o}", **names)
    (listed,) = [a for a in typed.json("aggregate list --long") if a["Name"] == names["o"]]
    assert (listed["Availability Zone"], listed["Properties"], listed["Hosts"]) == (zone, {"rack": "7"}, [host])
    assert "not empty" in typed.fails("aggregate delete {o}", **names)
    assert not typed.json("aggregate remove host {o} {h}", h=host, **names)["hosts"]
    typed("aggregate delete {o}", **names)
    assert "No Aggregate found" in typed.fails("aggregate show {o}", **names)


def test_hosts_as_they_were_once(typed: Typed) -> None:
    assert {"Host Name": "sim-1", "Service": "compute", "Zone": "nova"} in typed.json("host list --zone nova")
    resources = typed.json("host show sim-1")
    assert [r["Project"] for r in resources[:3]] == ["(total)", "(used_now)", "(used_max)"]
    assert resources[0]["CPU"] > 0
    typed("host set --disable sim-1")
    assert typed.json("compute service list --host sim-1")[0]["Status"] == "disabled"
    typed("host set --enable sim-1")
    assert "not supported" in typed.fails("host set --enable-maintenance sim-1")


async def test_server_groups(typed: Typed) -> None:
    group, rules = name_for(typed, "group"), "--rule max_server_per_host=1"
    names = {"g": group, "f": name_for(typed, "grouped"), "s": name_for(typed, "member")}
    made = typed.json(f"server group create --policy anti-affinity {rules} {{g}}", **names)
    assert (made["name"], made["policy"], made["members"]) == (group, "anti-affinity", [])
    assert "Only anti-affinity policy supports rules" in typed.fails(
        f"server group create --policy affinity {rules} wrong"
    )
    typed("flavor create --ram 64 --disk 1 --vcpus 1 {f}", **names)
    create = "server create --flavor {f} --image tiny --nic none --wait --server-group {g} --min 2 --max 2 {s}"
    typed(create, **names)
    hosts = {(await until(typed, f"{names['s']}-{n}", "ACTIVE"))["OS-EXT-SRV-ATTR:host"] for n in (1, 2)}
    assert len(hosts) == 2
    assert len(typed.json("server group show {g}", **names)["members"]) == 2
    (listed,) = [g for g in typed.json("server group list --long --all-projects") if g["Name"] == group]
    assert len(listed["Members"]) == 2
    typed("server delete --wait {s}-1 {s}-2", **names)
    typed("server group delete {g}", **names)
    assert group not in named(typed.json("server group list"))
    typed("flavor delete {f}", **names)


async def test_all_that_can_be_said_of_a_new_server(typed: Typed, tmp_path: Path) -> None:
    server, flavor, script = name_for(typed, "said"), name_for(typed, "of"), tmp_path / "script"
    script.write_text("#!/bin/sh\necho hello\n")
    names = {"s": server, "f": flavor, "u": str(script)}
    typed("flavor create --ram 64 --disk 1 --vcpus 1 {f}", **names)
    create = "server create --flavor {f} --image tiny --nic none "
    typed(create + "--user-data {u} --config-drive True --availability-zone nova:sim-2 --password s3cret {s}", **names)
    shown = await until(typed, server, "ACTIVE")
    assert (shown["config_drive"], shown["OS-EXT-SRV-ATTR:host"], shown["OS-EXT-AZ:availability_zone"]) == (
        "True", "sim-2", "nova",
    )  # fmt: skip
    for words in (
        "--availability-zone nova",
        "--host sim-2",
        f"--instance-name {shown['OS-EXT-SRV-ATTR:instance_name']}",
        "--power-state running",
        "--vm-state active",
        f"--reservation-id {shown['OS-EXT-SRV-ATTR:reservation_id']}",
        "--user admin",
        "--changes-before 2100-01-01T00:00:00Z",
        "-n",
    ):
        assert server in named(typed.json(f"server list {words}".strip())), words
    for words in ("--power-state paused", "--vm-state stopped", "--key-name other", "--locked"):
        assert server not in named(typed.json(f"server list {words}")), words
    typed("server lock {s}", **names)
    assert server in named(typed.json("server list --locked")) or not typed.version
    typed("server unlock {s}", **names)
    for words, says in (
        ("--availability-zone nowhere", "The requested availability zone is not available"),
        ("--key-name nobodys", "Invalid key_name provided"),
        ("--host nowhere", "Compute host nowhere could not be found"),
        ("--boot-from-volume 1", "no volume service is configured"),
        ("--property k=" + 300 * "v", "is too long"),
    ):
        assert says in typed.fails(f"{create}{words} wrong", **names), words
    big = f"{flavor}-big"
    typed("flavor create --ram 99999999 --disk 1 --vcpus 1 {b}", b=big)
    assert "Quota exceeded for ram" in typed.fails("server create --flavor {b} --image tiny --nic none wrong", b=big)
    typed("server delete --force --wait {s}", **names)
    typed("flavor delete {f} {b}", b=big, **names)


def test_flavors_that_are_refused(typed: Typed) -> None:
    name = name_for(typed, "f")
    made = typed.json("flavor create --id {n}-id --swap 16 --ephemeral 1 --vcpus 1 --ram 2 --disk 0 {n}", n=name)
    assert (made["id"], made["swap"], made["OS-FLV-EXT-DATA:ephemeral"]) == (f"{name}-id", 16, 1)
    assert "already exists" in typed.fails("flavor create --id {n}-id --vcpus 1 --ram 2 --disk 0 another", n=name)
    assert "0 is less than the minimum of 1" in typed.fails("flavor create --vcpus 0 --ram 2 --disk 0 another")
    assert name not in named(typed.json("flavor list --min-ram 3"))
    assert name not in named(typed.json("flavor list --min-disk 1"))
    assert name in named(typed.json("flavor list --public --min-ram 2"))
    assert "marker [nothing] not found" in typed.fails("flavor list --marker nothing")
    typed("flavor set --property a=b {n}", n=name)
    typed("flavor set --no-property {n}", n=name)
    assert typed.json("flavor show {n}", n=name)["properties"] == {}
    typed("flavor delete {n}", n=name)


def test_keypairs_made_and_of_others(typed: Typed, key_file: str, tmp_path: Path) -> None:
    name, private = name_for(typed, "made"), tmp_path / "id"
    typed("keypair create --private-key {f} {n}", f=str(private), n=name)
    assert private.read_text().startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    typed("keypair delete {n}", n=name)
    if typed.version:
        typed("keypair create --user demo --public-key {f} {n}", f=key_file, n=name)
        assert name in named(typed.json("keypair list --user demo"))
        assert name in named(typed.json("keypair list --project demo")), "demo is in it"
        assert name not in named(typed.json("keypair list"))
        assert typed.json("keypair show --user demo {n}", n=name)["name"] == name
        typed("keypair delete --user demo {n}", n=name)


def test_quotas_that_are_refused(typed: Typed) -> None:
    assert "-2 is less than the minimum of -1" in typed.fails("quota set --instances -2 demo")
    typed("quota set --force --server-groups 3 --server-group-members 4 --properties 5 demo")
    shown = {q["Resource"]: q["Limit"] for q in typed.json("quota show --compute demo")}
    assert (shown["server-groups"], shown["server-group-members"], shown["properties"]) == (3, 4, 5)
    typed("quota delete --all demo")
    limits = {q["Name"]: q["Value"] for q in typed.json("limits show --absolute --reserved --project demo")}
    assert (limits["server_groups"], limits["server_meta"]) == (10, 128)


async def test_a_service_that_is_deleted_and_lives(typed: Typed) -> None:
    """A host whose agent runs comes back as a new service, as a restarted nova-compute does."""

    def id_of_last() -> str:
        found = typed.json("compute service list --host sim-2 --service nova-compute")
        return str(found[0]["ID"]) if found else ""

    old = id_of_last()
    typed("compute service delete {i}", i=old)
    assert await eventually(lambda: id_of_last() not in ("", old), 30)
    assert "failed to delete" in typed.fails("compute service delete {i}", i=old)


def test_the_clients_own_settings(typed: Typed) -> None:
    shown = typed.json("configuration show")
    assert (shown["auth_url"], shown["auth.project_name"]) == (f"{typed.cloud.url}/identity/v3", "admin")
    assert {e["Alias"] for e in typed.json("extension list --compute --long")} >= {"os-aggregates", "os-keypairs"}


PEOPLE: Final = ("reader", "member", "manager", "admin", "service")
MAY: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "server list": ("servers:detail", PEOPLE[:4]),
    "server list --all-projects": ("servers:detail", ("admin",)),
    "server list --deleted": ("servers:detail", PEOPLE[:4]),
    "server group create --policy affinity group-of-{r}": ("os-server-groups:create", PEOPLE[1:4]),
    "server group list": ("os-server-groups:index", PEOPLE[:4]),
    "flavor list": ("", PEOPLE),
    "flavor create --ram 1 --disk 1 --vcpus 1 flavor-of-{r}": ("os-flavor-manage:create", ("admin",)),
    "hypervisor list": ("os-hypervisors:list-detail", ("admin",)),
    "compute service list": ("os-services:list", ("admin",)),
    "aggregate list": ("os-aggregates:index", ("admin",)),
    "usage list": ("os-simple-tenant-usage:list", ("admin",)),
    "limits show --absolute": ("", PEOPLE),
}
"""By command: how the rule that says no begins, and who may."""


def test_who_may(site: Cloud) -> None:
    admin = Typed(site)
    admin("project create elsewhere")
    for role in PEOPLE:
        admin("user create --password word-of-{r} {r}-elsewhere", r=role)
        admin("role add --user {r}-elsewhere --project elsewhere {r}", r=role)
        theirs = Typed(Cloud(site.url, f"{role}-elsewhere", f"word-of-{role}", "elsewhere"))
        for line, (rule, people) in MAY.items():
            if role in people:
                theirs(line, r=role)
            else:
                assert f"Policy doesn't allow os_compute_api:{rule}" in theirs.fails(line, r=role), line
        admin("user delete {r}-elsewhere", r=role)
    admin("flavor delete flavor-of-admin")
    admin("project delete elsewhere")
