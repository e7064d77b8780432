"""The fields of every answer at each version that changes them, to an administrator and to a reader, against Nova's."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from attrs import field, frozen
from compute_client import Client
from nova_facts import keys_at, nova, shape, versions_to_try

from bus.client import Bus
from bus.service import Service
from control.compute.microversions import MAX
from control.compute.operations import OPERATIONS
from control.compute.tables import devices, own
from control.top import Top
from kv.keys import Cell, Global
from kv.txn import Txn
from schemas.flavor import Flavor
from schemas.guest import Address, CpuDiagnostics, Diagnostics, DiskDiagnostics, HostFacts, NicDiagnostics
from schemas.host import Alive, Host, HostMapping
from schemas.host import Service as HostService
from schemas.messages import HostCall, HostCallReply
from schemas.operation import Action, ActionEvent
from schemas.server import Fault, ImageRef, Instance
from schemas.subjects import call

Api = Callable[..., Client]
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKhnAAWK3bMr5hbFmTBvDHCTRwBWaSVdFNbeLwI5bbWq x"
HOST, SERVICE = "5f2a2b1e-0000-4000-8000-00000000000a", "5f2a2b1e-0000-4000-8000-00000000000b"
DIAGNOSTICS = Diagnostics(
    "running",
    "libvirt",
    "kvm",
    512,
    256,
    (CpuDiagnostics(0, 1),),
    (NicDiagnostics("fa:16:3e:00:00:01", "tap0", *[0] * 8),),
    (DiskDiagnostics("vda", 1, 1, 1, 1, 0),),
)


@frozen
class World:
    """What there is to see, by the names that paths use."""

    known: dict[str, Any]
    fresh: Any = field(factory=count)

    def path(self, template: str) -> str:
        return template.format(**self.known)

    def name(self) -> str:
        """One that nothing has."""
        return f"n{next(self.fresh)}"


@pytest.fixture
async def world(
    api: Api, top: Top, flavor: str, image: str, place: Callable[..., Awaitable[Instance]]
) -> AsyncIterator[World]:
    now = datetime.now(UTC)
    facts = HostFacts(8, 16384, 100, "QEMU", 8002002, "h1.example", "192.0.2.9", {"arch": "x86_64"}, booted=now)
    cell = top.cells.store("cell1")
    host = Txn("host").put(Cell.HOSTS("h1"), Host("h1", HOST, facts, now))
    host.put(Cell.SERVICES("nova-compute", "h1"), HostService("h1", "nova-compute", SERVICE, "m1", "s1", 1, now, now))
    await cell.commit(host.put(Cell.ALIVE("h1"), Alive("s1", now)))
    private = Flavor("private", "private", 1, 64, 1, is_public=False, projects=("project-demo",))
    shared = Txn("shared").create(Global.HOSTS("h1"), HostMapping("h1", "cell1", HOST))
    await top.store.commit(shared.put(Global.FLAVORS("private"), private))
    address = Address("private", "fa:16:3e:00:00:01", "192.0.2.5")
    active = await place(image=ImageRef(image), addresses=(address,), tags=("a",), metadata={"a": "b"})
    fault = Fault(500, "No valid host was found.", now, "trace")
    broken = await place(vm_state="error", fault=fault, created=now - timedelta(hours=1))
    event = ActionEvent("compute_stop_instance", now, now, "Error", "h1", "trace", "why")
    action = Action("stop", active.uuid, "req-1", "user-member", "project-demo", now, now, events=(event,))
    more = {"quota_set": {"instances": -1, "cores": -1, "ram": -1, "server_groups": -1}}
    await api("operator").ok("PUT", QUOTAS, more)
    await cell.commit(Txn("history").put(Cell.ACTIONS(active.uuid, action.request_id), action))
    admin = api("operator", "2.81")
    aggregate = (await admin.ok("POST", "/os-aggregates", {"aggregate": {"name": "a"}}))["aggregate"]
    group = await admin.ok("POST", "/os-server-groups", {"server_group": {"name": "g", "policy": "affinity"}})
    snapshot = {"instance_uuid": active.uuid, "auto_disk_config": "True", "a": "b"}
    await api("operator").ok("PUT", f"/images/{image}/metadata", {"metadata": snapshot})
    await admin.ok("POST", f"/os-aggregates/{aggregate['id']}/action", {"add_host": {"host": "h1"}})
    await api("operator").ok("POST", "/os-keypairs", {"keypair": {"name": "mine"}})
    await admin.ok("POST", f"/flavors/{flavor}/os-extra_specs", {"extra_specs": {"hw:cpu_policy": "shared"}})
    bus = await Bus.connect(top.settings.top.bus, "host")
    service = Service(bus, "host", "0.1.0", "answers for the host")

    async def answer(question: HostCall, _: str) -> HostCallReply:
        return HostCallReply("said", diagnostics=DIAGNOSTICS if question.verb == "diagnostics" else None)

    await service.serve("call", call("cell1"), HostCall, answer)
    number = int(HOST.replace("-", "")[:12], 16)
    yield World(
        {
            "server": active.uuid,
            "broken": broken.uuid,
            "image": image,
            "group": group["server_group"]["id"],
            "aggregate": aggregate["id"],
            "service": SERVICE,
            "hypervisor": HOST,
            "number": number,
        }
    )
    await service.stop()
    await bus.drain()


Ask = Callable[[World, Client], Awaitable[list[Any]]]
"""Sends what is said in the client's version and returns the bodies of the answers."""


def get(*templates: str) -> Ask:
    async def ask(world: World, client: Client) -> list[Any]:
        return [await client.get(world.path(template)) for template in templates]

    return ask


def send(method: str, template: str, body: Any) -> Ask:
    """NEW in a body is a name that nothing has yet."""

    def filled(value: Any, world: World) -> Any:
        if isinstance(value, dict):
            return {key: filled(inner, world) for key, inner in value.items()}
        return world.name() if value == NEW else world.path(value) if isinstance(value, str) else value

    async def ask(world: World, client: Client) -> list[Any]:
        answer = await client.send(method, world.path(template), filled(body, world))
        assert answer.status_code < 300, answer.text
        return [answer.json()]

    return ask


def both(*asks: Ask) -> Ask:
    async def ask(world: World, client: Client) -> list[Any]:
        return [body for one in asks for body in await one(world, client)]

    return ask


def after(first: Ask, second: Ask) -> Ask:
    """Only the second's answers count."""

    async def ask(world: World, client: Client) -> list[Any]:
        await first(world, client)
        return await second(world, client)

    return ask


def undone(asked: Ask, undo: Ask) -> Ask:
    async def ask(world: World, client: Client) -> list[Any]:
        bodies = await asked(world, client)
        await undo(world, client)
        return bodies

    return ask


def between(since: int, until: int, asked: Ask) -> Ask:
    """Nothing in other versions."""

    async def ask(world: World, client: Client) -> list[Any]:
        version = int(client.version.removeprefix("2."))
        return await asked(world, client) if since <= version <= until else []

    return ask


NEW = "NEW"
SERVER, ACTIONS = "/servers/{server}", "/servers/{server}/action"
HISTORY = SERVER + "/os-instance-actions"
AGGREGATE = "/os-aggregates/{aggregate}"
NODES = "/os-hypervisors"
QUOTAS, CLASS = "/os-quota-sets/project-demo", "/os-quota-class-sets/default"
USAGE, USAGE_QUERY = "/os-simple-tenant-usage", "start=2020-01-01T00:00:00"
NAMED = {"host": "h1", "binary": "nova-compute"}
REASON = {"disabled_reason": "x"}
BOOT = {"name": "web", "flavorRef": "1", "imageRef": "{image}"}
POLICY = {"policies": ["affinity"]}


def boot(**more: Any) -> Ask:
    old, now = {**BOOT, **more}, {**BOOT, **more, "networks": "none"}
    return both(
        between(1, 36, send("POST", "/servers", {"server": old})),
        between(37, MAX, send("POST", "/servers", {"server": now})),
    )


def access(action: str) -> Ask:
    return send("POST", "/flavors/private/action", {action: {"tenant": "project-other"}})


def member(action: str) -> Ask:
    return send("POST", AGGREGATE + "/action", {action: {"host": "h1"}})


ASKED: dict[str, Ask] = {
    "extensions.list": get("/extensions"),
    "extensions.show": get("/extensions/os-keypairs"),
    "servers.list": get("/servers", "/servers?limit=1"),
    "servers.detail": get("/servers/detail", "/servers/detail?limit=1"),
    "servers.show": get(SERVER, "/servers/{broken}"),
    "servers.create": both(boot(), boot(return_reservation_id=True)),
    "servers.update": both(*(send("PUT", path, {"server": {}}) for path in (SERVER, "/servers/{broken}"))),
    "servers.get-console-output": send("POST", ACTIONS, {"os-getConsoleOutput": {}}),
    "server-metadata.list": get(SERVER + "/metadata"),
    "server-metadata.create": send("POST", SERVER + "/metadata", {"metadata": {"a": "b"}}),
    "server-metadata.replace": send("PUT", SERVER + "/metadata", {"metadata": {"a": "b"}}),
    "server-metadata.show": get(SERVER + "/metadata/a"),
    "server-metadata.update": send("PUT", SERVER + "/metadata/a", {"meta": {"a": "b"}}),
    "server-tags.list": get(SERVER + "/tags"),
    "server-tags.replace": send("PUT", SERVER + "/tags", {"tags": []}),
    "server-addresses.list": get(SERVER + "/ips"),
    "server-addresses.show": get(SERVER + "/ips/private"),
    "server-diagnostics.show": get(SERVER + "/diagnostics"),
    "server-topology.show": get(SERVER + "/topology"),
    "server-password.show": get(SERVER + "/os-server-password"),
    "instance-actions.list": both(get(HISTORY), between(58, MAX, get(HISTORY + "?limit=1"))),
    "instance-actions.show": get(HISTORY + "/req-1"),
    "flavors.list": get("/flavors", "/flavors?limit=1"),
    "flavors.detail": get("/flavors/detail", "/flavors/detail?limit=1"),
    "flavors.show": get("/flavors/1"),
    "flavors.create": send("POST", "/flavors", {"flavor": {"name": NEW, "ram": 1, "vcpus": 1, "disk": 0}}),
    "flavors.update": send("PUT", "/flavors/1", {"flavor": {"description": "x"}}),
    "flavor-specs.list": get("/flavors/1/os-extra_specs"),
    "flavor-specs.create": send("POST", "/flavors/1/os-extra_specs", {"extra_specs": {"hw:cpu_policy": "shared"}}),
    "flavor-access.list": get("/flavors/private/os-flavor-access"),
    "flavor-access.add": undone(access("addTenantAccess"), access("removeTenantAccess")),
    "flavor-access.remove": after(access("addTenantAccess"), access("removeTenantAccess")),
    "keypairs.list": both(get("/os-keypairs"), between(35, MAX, get("/os-keypairs?limit=1"))),
    "keypairs.create": both(
        between(1, 91, send("POST", "/os-keypairs", {"keypair": {"name": NEW}})),
        send("POST", "/os-keypairs", {"keypair": {"name": NEW, "public_key": SSH_KEY}}),
    ),
    "keypairs.show": get("/os-keypairs/mine"),
    "limits.show": get("/limits"),
    "quotas.show": get(QUOTAS),
    "quotas.detail": get(QUOTAS + "/detail"),
    "quotas.defaults": get(QUOTAS + "/defaults"),
    "quotas.update": send("PUT", QUOTAS, {"quota_set": {"cores": 20}}),
    "quota-classes.show": get(CLASS),
    "quota-classes.update": send("PUT", CLASS, {"quota_class_set": {"cores": 20}}),
    "services.list": get("/os-services"),
    "services.update": both(
        between(1, 52, send("PUT", "/os-services/disable-log-reason", {**NAMED, **REASON})),
        between(11, 52, send("PUT", "/os-services/force-down", {**NAMED, "forced_down": False})),
        between(53, MAX, send("PUT", "/os-services/{service}", {"status": "disabled", **REASON})),
        between(53, MAX, send("PUT", "/os-services/{service}", {"status": "enabled"})),
    ),
    "usage.list": both(
        get(f"{USAGE}?detailed=1&{USAGE_QUERY}"), between(40, MAX, get(f"{USAGE}?detailed=1&{USAGE_QUERY}&limit=1"))
    ),
    "usage.show": both(
        get(f"{USAGE}/project-demo?{USAGE_QUERY}"), between(40, MAX, get(f"{USAGE}/project-demo?{USAGE_QUERY}&limit=1"))
    ),
    "hypervisors.list": both(
        get(NODES), between(33, MAX, get(NODES + "?limit=1")), between(53, MAX, get(NODES + "?with_servers=1"))
    ),
    "hypervisors.detail": both(
        get(NODES + "/detail"),
        between(33, MAX, get(NODES + "/detail?limit=1")),
        between(53, MAX, get(NODES + "/detail?with_servers=1")),
    ),
    "hypervisors.show": both(
        between(1, 52, get(NODES + "/{number}")), between(53, MAX, get(NODES + "/{hypervisor}?with_servers=1"))
    ),
    "hypervisors.statistics": get(NODES + "/statistics"),
    "hypervisors.uptime": both(
        between(1, 52, get(NODES + "/{number}/uptime")), between(53, MAX, get(NODES + "/{hypervisor}/uptime"))
    ),
    "hypervisors.search": get(NODES + "/h1/search"),
    "hypervisors.servers": get(NODES + "/h1/servers"),
    "zones.list": get("/os-availability-zone"),
    "zones.detail": get("/os-availability-zone/detail"),
    "aggregates.index": get("/os-aggregates"),
    "aggregates.create": send("POST", "/os-aggregates", {"aggregate": {"name": NEW}}),
    "aggregates.show": get(AGGREGATE),
    "aggregates.update": send("PUT", AGGREGATE, {"aggregate": {"name": NEW}}),
    "aggregates.add_host": after(member("remove_host"), member("add_host")),
    "aggregates.remove_host": undone(member("remove_host"), member("add_host")),
    "aggregates.set_metadata": send("POST", AGGREGATE + "/action", {"set_metadata": {"metadata": {"a": "b"}}}),
    "images.list": get("/images", "/images?limit=1"),
    "images.detail": get("/images/detail", "/images/detail?limit=1"),
    "images.show": get("/images/{image}"),
    "image-metadata.list": get("/images/{image}/metadata"),
    "image-metadata.create": send("POST", "/images/{image}/metadata", {"metadata": {"a": "b"}}),
    "image-metadata.replace": send("PUT", "/images/{image}/metadata", {"metadata": {"a": "b"}}),
    "image-metadata.show": get("/images/{image}/metadata/a"),
    "image-metadata.update": send("PUT", "/images/{image}/metadata/a", {"meta": {"a": "b"}}),
    "hosts.list": get("/os-hosts"),
    "hosts.show": get("/os-hosts/h1"),
    "hosts.update": both(*(send("PUT", "/os-hosts/h1", {"status": word}) for word in ("disable", "enable"))),
    "usage-audits.list": get("/os-instance_usage_audit_log"),
    "usage-audits.show": get("/os-instance_usage_audit_log/2026-11-03"),
    "server-groups.list": get("/os-server-groups"),
    "server-groups.create": both(
        between(1, 63, send("POST", "/os-server-groups", {"server_group": {"name": NEW, **POLICY}})),
        between(64, MAX, send("POST", "/os-server-groups", {"server_group": {"name": NEW, "policy": "affinity"}})),
    ),
    "server-groups.show": get("/os-server-groups/{group}"),
}
FREE_BELOW = {"server-diagnostics.show": 48}
"""Below that version they are the driver's own."""
NOTHING = frozenset(o.name for o in devices.OPERATIONS)
"""What they show, no server has."""
WITH_FIELDS = [o for o in OPERATIONS if o not in own.OPERATIONS and o.name not in NOTHING and "response" in nova(o)]


def test_all_that_have_fields_are_asked() -> None:
    assert {o.name for o in WITH_FIELDS} == set(ASKED)


async def test_fields(api: Api, world: World) -> None:
    """One site for all of them: a site takes longer to make than these to ask."""
    differs = {}
    for operation in WITH_FIELDS:
        facts = shape(nova(operation)["response"])
        for version in versions_to_try(operation, facts.steps()):
            if version < FREE_BELOW.get(operation.name, 1):
                continue
            for person in (
                ("operator", "reader")
                if operation.method == "GET" and operation.role in ("reader", "any")
                else ("operator",)
            ):
                bodies = await ASKED[operation.name](world, api(person, f"2.{version}"))
                expected = facts.at(version, admin=person == "operator")
                shown = {path: names for path in facts.names if (names := keys_at(bodies, path))}
                if shown != expected:
                    differs[f"{operation.name} 2.{version} to {person}"] = shown, expected
    assert differs == {}
