"""Every `openstack` command for compute that what exists can serve, at the client's own microversion and the highest.

One story a version: an operator prepares, a server lives, the operator looks on, all is removed. What a command shows
is checked where it shows anything.
"""

from tests.e2e.typed import NEWEST, Typed, name_for, until


def test_flavors(typed: Typed) -> None:
    name = name_for(typed, "flavor")
    made = typed.json("flavor create --ram 64 --disk 1 --vcpus 2 --property colour=blue {n}", n=name)
    assert (made["ram"], made["vcpus"], made["disk"]) == (64, 2, 1)
    typed("flavor set --property hw:cpu_policy=shared {n}", n=name)
    shown = typed.json("flavor show {n}", n=name)
    assert shown["properties"] == {"colour": "blue", "hw:cpu_policy": "shared"}
    typed("flavor unset --property colour {n}", n=name)
    assert name in {f["Name"] for f in typed.json("flavor list")}
    assert {f["Name"]: f["Properties"] for f in typed.json("flavor list --long")}[name] == {"hw:cpu_policy": "shared"}
    private = f"{name}-private"
    typed("flavor create --private --ram 64 --disk 1 --vcpus 1 {n}", n=private)
    typed("flavor set --project demo {n}", n=private)
    assert len(typed.json("flavor show {n}", n=private)["access_project_ids"]) == 1
    typed("flavor unset --project demo {n}", n=private)
    assert private in {f["Name"] for f in typed.json("flavor list --all")}
    if typed.version:
        typed("flavor set --description small {n}", n=name)
        assert typed.json("flavor show {n}", n=name)["description"] == "small"
        assert "is not one of" in typed.fails("flavor set --property hw:cpu_policy=mine {n}", n=name)
    typed("flavor delete {n} {p}", n=name, p=private)
    assert "No Flavor found" in typed.fails("flavor show {n}", n=name)


def test_keypairs(typed: Typed, key_file: str) -> None:
    name = name_for(typed, "key")
    made = typed.json("keypair create --public-key {f} {n}", f=key_file, n=name)
    assert made["fingerprint"].count(":") == 15
    assert name in {k["Name"] for k in typed.json("keypair list")}
    assert typed.json("keypair show {n}", n=name)["name"] == name
    assert typed("keypair show --public-key {n}", n=name).startswith("ssh-ed25519 ")
    assert "already exists" in typed.fails("keypair create --public-key {f} {n}", f=key_file, n=name)
    typed("keypair delete {n}", n=name)
    assert name not in {k["Name"] for k in typed.json("keypair list")}


def test_quotas_and_limits(typed: Typed) -> None:
    project = "demo"
    typed("quota set --instances 33 --cores 66 --ram 9999 --key-pairs 7 {p}", p=project)
    shown = {q["Resource"]: q["Limit"] for q in typed.json("quota show --compute {p}", p=project)}
    assert (shown["instances"], shown["cores"], shown["ram"], shown["key-pairs"]) == (33, 66, 9999, 7)
    used = {q["Resource"]: q["In Use"] for q in typed.json("quota show --compute --usage {p}", p=project)}
    assert used["instances"] == 0
    assert [q for q in typed.json("quota list --compute") if q["Instances"] == 33]
    typed("quota delete --compute {p}", p=project)
    typed("quota set --class --instances 11 default")
    default = {q["Resource"]: q["Limit"] for q in typed.json("quota show --compute --default")}
    assert default["instances"] == 11
    typed("quota set --class --instances 10 default")
    limits = {q["Name"]: q["Value"] for q in typed.json("limits show --absolute")}
    assert limits["instances"] == 10
    assert typed.json("limits show --rate") == []


def test_zones_hosts_and_services(typed: Typed) -> None:
    assert "nova" in {z["Zone Name"] for z in typed.json("availability zone list --compute")}
    detail = typed.json("availability zone list --compute --long")
    hosts = {z["Host Name"] for z in detail if z["Zone Name"] == "nova"}
    nodes = typed.json("hypervisor list --long")
    assert len(nodes) == len(hosts) == 2
    node = nodes[0]["Hypervisor Hostname"]
    assert typed.json("hypervisor show {n}", n=node)["hypervisor_type"] == "QEMU"
    if typed.version:
        assert [h["Hypervisor Hostname"] for h in typed.json("hypervisor list --matching {n}", n=node)] == [node]
    assert typed.json("hypervisor stats show")["count"] == 2
    host = sorted(hosts)[0]
    typed("compute service set --disable --disable-reason broken {h} nova-compute", h=host)
    (service,) = [s for s in typed.json("compute service list --long --service nova-compute") if s["Host"] == host]
    assert (service["Status"], service["State"], service["Disabled Reason"]) == ("disabled", "up", "broken")
    typed("compute service set --enable {h} nova-compute", h=host)
    if typed.version:
        typed("compute service set --down {h} nova-compute", h=host)
        assert [s["State"] for s in typed.json("compute service list --host {h}", h=host)] == ["down"]
        typed("compute service set --up {h} nova-compute", h=host)
    assert "os-keypairs" in {e["Alias"] for e in typed.json("extension list --compute")}
    assert NEWEST in {v["Max Microversion"] for v in typed.json("versions show --service compute")}


async def test_a_server_lives(typed: Typed, key_file: str) -> None:
    server, flavor, key = (name_for(typed, what) for what in ("server", "small", "login"))
    names = {"s": server, "f": flavor, "k": key}
    typed("flavor create --ram 64 --disk 1 --vcpus 1 {f}", **names)
    typed("keypair create --public-key {p} {k}", p=key_file, **names)
    create = "server create --flavor {f} --image tiny --key-name {k} --property a=b --wait {s}"
    typed(create + (" --nic none --description said --tag blue --hostname web-1" if typed.version else ""), **names)
    shown = await until(typed, server, "ACTIVE")
    assert (shown["key_name"], shown["properties"]) == (key, {"a": "b"})
    if typed.version:
        assert (shown["description"], shown["OS-EXT-SRV-ATTR:hostname"], shown["tags"]) == ("said", "web-1", ["blue"])
    _lists(typed, server, flavor)
    _changes(typed, server)
    for command, status in (
        ("server pause {s}", "PAUSED"),
        ("server unpause {s}", "ACTIVE"),
        ("server suspend {s}", "SUSPENDED"),
        ("server resume {s}", "ACTIVE"),
        ("server stop {s}", "SHUTOFF"),
        ("server start {s}", "ACTIVE"),
    ):
        typed(command, **names)
        await until(typed, server, status)
    assert "while it is in vm_state active" in typed.fails("server start {s}", **names)
    typed("server reboot --wait {s}", **names)
    typed("server reboot --hard --wait {s}", **names)
    assert "cpu_details" in typed("server show --diagnostics {s}", **names) or not typed.version
    assert isinstance(typed("console log show --lines 5 {s}", **names), str)
    typed("server set --auto-approve --state error {s}", **names)
    await until(typed, server, "ERROR")
    typed("server set --auto-approve --state active {s}", **names)
    _history(typed, server)
    assert server in str(typed.json("usage show")) or typed.json("usage show")["Servers"] >= 1
    assert typed.json("usage list")
    typed("server delete --wait {s}", **names)
    assert "No Server found" in typed.fails("server show {s}", **names)
    assert server in {s["Name"] for s in typed.json("server list --deleted")}
    typed("flavor delete {f}", **names)
    typed("keypair delete {k}", **names)


def _lists(typed: Typed, server: str, flavor: str) -> None:
    for words in (
        "",
        "--long",
        "--all-projects",
        "--status ACTIVE",
        "--image tiny",
        f"--flavor {flavor}",
        f"--name ^{server}$",
        "--no-name-lookup",
        "--limit 1",
        "--sort-column Name",
        "--project admin",
        "--changes-since 2026-01-01T00:00:00Z",
        *(("--tags blue", "--not-tags red", "--unlocked") if typed.version else ()),
    ):
        listed = typed.json(f"server list {words}".strip())
        assert server in {s["Name"] for s in listed}, words
    for words in ("--status SHUTOFF", "--name nothing", "--ip 203.0.113.9", "--host nowhere"):
        assert server not in {s["Name"] for s in typed.json(f"server list {words}")}, words


def _changes(typed: Typed, server: str) -> None:
    typed("server set --name other-{s} {s}", s=server)
    typed("server set --name {s} other-{s}", s=server)
    typed("server set --property c=d {s}", s=server)
    typed("server unset --property a {s}", s=server)
    assert typed.json("server show {s}", s=server)["properties"] == {"c": "d"}
    typed("server lock {s}", s=server)
    typed("server unlock {s}", s=server)
    if typed.version:
        typed("server set --tag red --description more --hostname web-2 {s}", s=server)
        typed("server unset --tag blue {s}", s=server)
        shown = typed.json("server show {s}", s=server)
        assert (shown["tags"], shown["description"], shown["OS-EXT-SRV-ATTR:hostname"]) == (["red"], "more", "web-2")
        typed("server unset --description {s}", s=server)


def _history(typed: Typed, server: str) -> None:
    assert typed.json("server volume list {s}", s=server) == []
    assert typed.json("server migration list --server {s}", s=server) == []
    if typed.version:
        assert typed.json("server share list {s}", s=server) == []
    events = typed.json("server event list --long {s}", s=server)
    actions = [event["Action"] for event in events]
    assert actions[-1] == "create"
    assert {"pause", "unpause", "suspend", "resume", "stop", "start", "reboot", "lock", "unlock"} <= set(actions)
    last = typed.json("server event show {s} {r}", s=server, r=events[-1]["Request ID"])
    assert [e["event"] for e in last["events"]] == ["compute__do_build_and_run_instance"]
