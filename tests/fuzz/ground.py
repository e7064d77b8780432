"""Real objects for requests to speak of: servers in every state, flavors, key pairs and so on, made anew as operations
use them up, and what breaks the site for others put right again."""

import time
from random import Random
from typing import Any, Final
from uuid import uuid4

from attrs import define, field

from tests.fuzz.people import Person
from tests.fuzz.targets import Target

NEWEST: Final = "2.100"
KEY: Final = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5Al3ElbI4Ekm+4oqRWDjqFUgKYC4YQEF4JBYUlDk7O someone"
FLAVOR, HUGE = "fuzz", "huge"
PARAMETERS: Final = {
    ("keypairs", "id"): "key",
    ("aggregates", "id"): "aggregate",
    ("server-groups", "id"): "group",
    ("services", "id"): "service",
    ("instance-actions", "id"): "request",
    ("server-addresses", "id"): "network",
}
"""The pool of a resource's parameter, where it has not the parameter's name"""
WORDS: Final = {
    ("server-metadata", "id"): ("tier", "a-key"),
    ("server-tags", "id"): ("front", "blue"),
    ("flavor-specs", "id"): ("hw:cpu_policy", "a-key"),
}
OLD_CHANGES: Final = ("enable", "disable", "disable-log-reason", "force-down")
"""What stands in the place of a service's id in a PUT below 2.53"""
WAIT_SECONDS: Final = 30.0
KEPT: Final = 12
"""servers of a project; more than that are deleted"""
INSTANCES: Final = 60
STATES: Final = {
    "servers.start": "SHUTOFF",
    "servers.unpause": "PAUSED",
    "servers.resume": "SUSPENDED",
}
"""Operations that need another state than ACTIVE"""
ACTIONS: Final = {"SHUTOFF": "os-stop", "PAUSED": "pause", "SUSPENDED": "suspend"}


@define(eq=False)
class Ground:
    """`owner` may make servers where `person` looks; `person` makes what is a user's own."""

    admin: Person
    owner: Person
    person: Person
    image: str
    random: Random
    pools: dict[str, list[str]] = field(factory=dict)
    """real values by parameter"""

    def lay(self) -> None:
        """Once, before anything else."""
        for name, vcpus in ((FLAVOR, 1), (HUGE, 4096)):
            flavor = {"name": name, "id": name, "ram": 64, "vcpus": vcpus, "disk": 1}
            self.admin.send("POST", "/v2.1/flavors", {"flavor": flavor}, NEWEST)
        self.pools["project"] = [self.person.project]
        self.pools["name"] = ["default"]
        self.pools["before"] = ["2026-05-01", "2026-01-31 10:00:00"]
        self.pools["alias"] = ["os-keypairs", "os-services"]

    def prepare(self, operation: str) -> None:
        """What this operation is going to need."""
        self._mend()
        resource = operation.split(".")[0]
        if resource.startswith(("server-", "servers", "instance-", "explain", "hypervisors")) and resource != (
            "server-groups"
        ):
            self._servers(operation)
        make = {
            "flavors": self._flavors,
            "flavor-specs": self._flavors,
            "flavor-access": self._flavors,
            "keypairs": self._pairs,
            "aggregates": self._aggregates,
            "server-groups": self._groups,
            "services": self._services,
            "hosts": self._hosts,
            "hypervisors": self._hosts,
        }.get(resource)
        if make:
            make(operation)

    def parameter(self, target: Target, name: str) -> str:
        resource = target.name.split(".", maxsplit=1)[0]
        if target.name == "services.update" and int(self.person.version.split(".")[1]) < 53:
            return self.random.choice(OLD_CHANGES)
        if target.name in ("hypervisors.search", "hypervisors.servers"):
            return self._one_of("hypervisor name")
        if (resource, name) in WORDS:
            return self.random.choice(WORDS[resource, name])
        return self._one_of(PARAMETERS.get((resource, name), name))

    def _one_of(self, pool: str) -> str:
        return self.random.choice(self.pools.get(pool) or ["missing"])

    def known(self, key: str) -> list[str]:
        """Real values of a key in a body."""
        return {
            "flavorRef": [FLAVOR, FLAVOR, FLAVOR, HUGE],
            "imageRef": [self.image],
            "tenant": self.pools["project"],
            "project_id": self.pools["project"],
            "user_id": [self.person.user],
            "binary": ["nova-compute"],
            "availability_zone": ["nova"],
            "hypervisor_hostname": self.pools.get("hypervisor name", []),
            "key_name": self.pools.get("key", []),
            "host": self.pools.get("host", []),
            "group": self.pools.get("group", []),
        }.get(key, [])

    def example(self, target: Target) -> Any:
        return target.example

    def headers(self, _: Target) -> dict[str, str]:
        return {}

    def _mend(self) -> None:
        """Quotas, hosts and zones as a create needs them."""
        limits = {"instances": INSTANCES, "cores": 10_000, "ram": 10_000_000, "key_pairs": 1000, "server_groups": 1000}
        limits |= {"metadata_items": 128, "server_group_members": 100}
        for project in {self.person.project, self.admin.project}:
            quotas = {"quota_set": {**limits, "force": True}}
            self.admin.ok("PUT", f"/v2.1/os-quota-sets/{project}", quotas, NEWEST)
        for service in self.admin.ok("GET", "/v2.1/os-services", version=NEWEST)["services"]:
            if service["status"] != "enabled" or service["forced_down"]:
                healed = {"status": "enabled", "forced_down": False}
                self.admin.send("PUT", f"/v2.1/os-services/{service['id']}", healed, NEWEST)

    def _servers(self, operation: str) -> None:
        """A few in the state that it needs, all with metadata, tags and a history; surplus ones go."""
        state = STATES.get(operation, "ACTIVE")
        listed = self.owner.ok("GET", "/v2.1/servers/detail?limit=1000", version=NEWEST)["servers"]
        fit = [s["id"] for s in listed if s["status"] == state and not s["OS-EXT-STS:task_state"] and s["tags"]]
        for surplus in [s["id"] for s in listed if s["id"] not in fit[:KEPT]][: max(0, len(listed) - KEPT)]:
            self.owner.send("DELETE", f"/v2.1/servers/{surplus}", version=NEWEST)
        while len(fit) < 4:
            fit.append(self._boot(state))
        pool = fit[:4]
        for server in pool:
            self.owner.send("POST", f"/v2.1/servers/{server}/action", {"unlock": None}, NEWEST)
            metadata, tags = {"metadata": {"tier": "front", "a-key": "1"}}, {"tags": ["front", "blue"]}
            self.owner.send("PUT", f"/v2.1/servers/{server}/metadata", metadata, NEWEST)
            self.owner.send("PUT", f"/v2.1/servers/{server}/tags", tags, NEWEST)
        self.pools["server"] = pool[:1] if operation.startswith("instance-actions") else pool
        history = self.owner.ok("GET", f"/v2.1/servers/{pool[0]}/os-instance-actions", version=NEWEST)
        self.pools["request"] = [a["request_id"] for a in history["instanceActions"]]
        self.pools["network"] = list(self.owner.ok("GET", f"/v2.1/servers/{pool[0]}/ips", version=NEWEST)["addresses"])

    def _boot(self, state: str) -> str:
        server = {"name": "ground", "flavorRef": FLAVOR, "imageRef": self.image, "networks": "auto", "tags": ["front"]}
        uuid = str(self.owner.ok("POST", "/v2.1/servers", {"server": server}, NEWEST)["server"]["id"])
        self._until(uuid, "ACTIVE")
        if state in ACTIONS:
            self.owner.ok("POST", f"/v2.1/servers/{uuid}/action", {ACTIONS[state]: None}, NEWEST)
            self._until(uuid, state)
        return uuid

    def _until(self, uuid: str, state: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            shown = self.owner.ok("GET", f"/v2.1/servers/{uuid}", version=NEWEST)["server"]
            if shown["status"] == state and not shown["OS-EXT-STS:task_state"]:
                return
            assert shown["status"] != "ERROR", f"the ground does not boot: {shown.get('fault')}"
            assert time.monotonic() < deadline, f"still {shown}"
            time.sleep(0.05)

    def _flavors(self, operation: str) -> None:
        """Private ones with extra specs; each time others, so that they may be deleted."""
        made = []
        for _ in range(3):
            flavor = {"name": f"f-{uuid4()}", "id": f"f-{uuid4()}", "ram": 64, "vcpus": 1, "disk": 1}
            public = operation.startswith("flavor-specs") or self.person.role != "admin"
            body = {"flavor": {**flavor, "os-flavor-access:is_public": public}}
            ident = self.admin.ok("POST", "/v2.1/flavors", body, NEWEST)["flavor"]["id"]
            specs = {"extra_specs": {"hw:cpu_policy": "shared", "a-key": "1"}}
            self.admin.ok("POST", f"/v2.1/flavors/{ident}/os-extra_specs", specs, NEWEST)
            if not public and operation != "flavor-access.add":
                access = {"addTenantAccess": {"tenant": self.person.project}}
                self.admin.ok("POST", f"/v2.1/flavors/{ident}/action", access, NEWEST)
            made.append(ident)
        self._forget("flavors", [f for f in self.pools.get("flavor", []) if f not in (FLAVOR, HUGE)])
        self.pools["flavor"] = made

    def _pairs(self, _: str) -> None:
        self._forget("os-keypairs", self.pools.get("key", []), self.person)
        self.pools["key"] = [f"k-{uuid4()}" for _ in range(3)]
        for name in self.pools["key"]:
            self.person.ok("POST", "/v2.1/os-keypairs", {"keypair": {"name": name, "public_key": KEY}}, "2.2")
        listed = self.person.ok("GET", "/v2.1/os-keypairs?limit=1000", version="2.35")["keypairs"]
        others = [p["keypair"]["name"] for p in listed if p["keypair"]["name"] not in self.pools["key"]]
        self._forget("os-keypairs", others, self.person)

    def _aggregates(self, operation: str) -> None:
        """One has a host, one has none: so both of adding and removing are possible."""
        for aggregate in self.admin.ok("GET", "/v2.1/os-aggregates", version=NEWEST)["aggregates"]:
            for host in aggregate["hosts"]:
                action = {"remove_host": {"host": host}}
                self.admin.send("POST", f"/v2.1/os-aggregates/{aggregate['id']}/action", action, NEWEST)
            self._forget("os-aggregates", [str(aggregate["id"])])
        self._hosts(operation)
        self.pools["aggregate"] = []
        for number in range(3):
            body = {"aggregate": {"name": f"a-{uuid4()}"}}
            ident = self.admin.ok("POST", "/v2.1/os-aggregates", body, NEWEST)["aggregate"]["id"]
            self.pools["aggregate"].append(str(ident))
            if number == 0 or operation == "aggregates.remove_host":
                for host in self.pools["host"][:2]:
                    action = {"add_host": {"host": host}}
                    self.admin.send("POST", f"/v2.1/os-aggregates/{ident}/action", action, NEWEST)

    def _groups(self, _: str) -> None:
        self._forget("os-server-groups", self.pools.get("group", []), self.owner)
        group = {"name": "apart", "policy": "anti-affinity"}
        self.pools["group"] = [
            self.owner.ok("POST", "/v2.1/os-server-groups", {"server_group": group}, NEWEST)["server_group"]["id"]
            for _ in range(3)
        ]

    def _services(self, operation: str) -> None:
        """A host with servers is not deleted; whose agent lives is back soon."""
        if operation == "services.delete":
            for server in self.admin.ok("GET", "/v2.1/servers?all_tenants=1", version=NEWEST)["servers"]:
                self.admin.send("DELETE", f"/v2.1/servers/{server['id']}", version=NEWEST)
        self._hosts(operation)

    def _hosts(self, _: str) -> None:
        """Ids in the form of the person's version."""
        services = self.admin.ok("GET", "/v2.1/os-services", version=self.person.version)["services"]
        nodes = self.admin.ok("GET", "/v2.1/os-hypervisors", version=self.person.version)["hypervisors"]
        self.pools["host"] = [s["host"] for s in services]
        self.pools["service"] = [str(s["id"]) for s in services]
        self.pools["hypervisor"] = [str(n["id"]) for n in nodes]
        self.pools["hypervisor name"] = [n["hypervisor_hostname"] for n in nodes]

    def _forget(self, collection: str, idents: list[str], person: Person | None = None) -> None:
        for ident in idents:
            (person or self.admin).send("DELETE", f"/v2.1/{collection}/{ident}", version=NEWEST)
