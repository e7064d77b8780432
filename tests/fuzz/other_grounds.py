"""Real objects for the requests to identity and images: made as the operation needs them, by those who may."""

from random import Random
from typing import Any
from uuid import uuid4

import requests
from attrs import define, field

from tests.fuzz.people import PASSWORD, TIMEOUT, Person, log_in
from tests.fuzz.targets import Target
from tests.site_client import GUEST

IDENTITY, IMAGES = "/identity/v3", "/image/v2/images"


@define(eq=False)
class IdentityGround:
    """An admin's requests speak of users, projects and roles that are nobody's; those of others of their own."""

    admin: Person
    person: Person
    random: Random
    pools: dict[str, list[str]] = field(factory=dict)
    login: Any = None

    def lay(self) -> None:
        listed = {n: self.admin.ok("GET", f"{IDENTITY}/{n}s")[f"{n}s"] for n in ("service", "endpoint", "region")}
        self.pools |= {noun: [one["id"] for one in found] for noun, found in listed.items()}
        self.pools |= {"domain": ["default"], "tag": ["front", "blue"]}
        self.admin.ok("PUT", f"{IDENTITY}/projects/{self.person.project}/tags", {"tags": ["front", "blue"]})
        roles = {role["name"]: role["id"] for role in self.admin.ok("GET", f"{IDENTITY}/roles")["roles"]}
        self.pools |= {"prior": [roles["admin"]], "implied": [roles["manager"]], "reader": [roles["reader"]]}

    def prepare(self, operation: str) -> None:
        """Two of each, made anew; the old ones go."""
        for noun in ("user", "project", "role"):
            for ident in self.pools.get(f"own {noun}", ()):
                self.admin.send("DELETE", f"{IDENTITY}/{noun}s/{ident}")
        users = [self._made("user", password=PASSWORD) for _ in range(2)]
        projects = [self._made("project", tags=["front", "blue"]) for _ in range(2)]
        roles = [self._made("role") for _ in range(2)]
        self.pools |= {"own user": users, "own project": projects, "own role": roles}
        admins = self.person.role == "admin"
        self.pools["user"] = users if admins or operation == "change_password" else [self.person.user]
        self.pools["project"] = projects if admins else [self.person.project]
        implying = "impli" in operation
        self.pools["role"] = self.pools["prior"] if implying else roles
        for user in users:
            for place in (*(f"projects/{p}" for p in projects), "domains/default", "system"):
                for role in roles:
                    self.admin.ok("PUT", f"{IDENTITY}/{place}/users/{user}/roles/{role}")
        reader = self.pools["reader"][0]
        self.admin.ok("PUT", f"{IDENTITY}/projects/{projects[0]}/users/{users[0]}/roles/{reader}")
        self._credentials(operation)
        self._tokens(operation, users[0], projects[0])

    def _made(self, noun: str, **more: Any) -> str:
        body = {noun: {"name": f"fuzz-{uuid4()}", **more}}
        return str(self.admin.ok("POST", f"{IDENTITY}/{noun}s", body)[noun]["id"])

    def _credentials(self, operation: str) -> None:
        if "application_credential" not in operation:
            return
        self.pools["user"] = [self.person.user]
        at = f"{IDENTITY}/users/{self.person.user}/application_credentials"
        for known in self.person.ok("GET", at)["application_credentials"]:
            self.person.send("DELETE", f"{at}/{known['id']}")
        bodies = [{"application_credential": {"name": f"fuzz-{uuid4()}"}} for _ in range(2)]
        self.pools["app"] = [self.person.ok("POST", at, body)["application_credential"]["id"] for body in bodies]

    def _tokens(self, operation: str, user: str, project: str) -> None:
        """One that may be asked about and revoked, and a log-in that works."""
        if not operation.endswith(("_token", "log_in")):
            return
        name, place = self._name("user", user), self._name("project", project)
        domain = {"id": "default"}
        who = {"user": {"name": name, "domain": domain, "password": PASSWORD}}
        scope = {"project": {"name": place, "domain": domain}}
        self.login = {"auth": {"identity": {"methods": ["password"], "password": who}, "scope": scope}}
        if self.person.role != "admin":
            name, place = f"fuzz-{self.person.role}", "demo"
        self.pools["subject"] = [
            log_in(self.admin.url, "", name, PASSWORD, place, self.person.version).token for _ in range(4)
        ]

    def _name(self, noun: str, ident: str) -> str:
        return str(self.admin.ok("GET", f"{IDENTITY}/{noun}s/{ident}")[noun]["name"])

    def parameter(self, _: Target, name: str) -> str:
        return self.random.choice(self.pools.get(name) or ["missing"])

    def known(self, key: str) -> list[str]:
        return {"original_password": [PASSWORD], "default_project_id": self.pools["own project"]}.get(key, [])

    def example(self, target: Target) -> Any:
        return self.login if target.name == "log_in" else target.example

    def headers(self, target: Target) -> dict[str, str]:
        about_tokens = target.path == "/v3/auth/tokens" and target.name != "log_in"
        return {"X-Subject-Token": self.random.choice(self.pools["subject"])} if about_tokens else {}


@define(eq=False)
class ImageGround:
    """Of the person's project; those whose membership is to be answered are another project's."""

    admin: Person
    owner: Person
    person: Person
    random: Random
    pools: dict[str, list[str]] = field(factory=dict)

    def lay(self) -> None:
        self.pools |= {"tag": ["front", "blue"], "store": ["objects"], "action": ["deactivate", "reactivate"]}

    def prepare(self, operation: str) -> None:
        for image in self.pools.get("image", ()):
            self.admin.send("DELETE", f"{IMAGES}/{image}")
        theirs = operation in ("update_member", "get_member", "list_members") and self.person.role != "admin"
        maker = self.admin if theirs else self.owner
        member = self.person.project if theirs else self.admin.project
        self.pools["member"] = [member]
        self.pools["image"] = [self._image(maker, operation) for _ in range(3)]
        if operation.endswith(("_member", "_members")) and operation != "create_member":
            for image in self.pools["image"]:
                maker.ok("POST", f"{IMAGES}/{image}/members", {"member": member})

    def _image(self, maker: Person, operation: str) -> str:
        about = {"name": "fuzz", "disk_format": "raw", "container_format": "bare", "visibility": "shared"}
        image = str(maker.ok("POST", IMAGES, {**about, "tags": ["front", "blue"]})["id"])
        if operation not in ("upload_image", "stage_bytes"):
            headers = {"X-Auth-Token": maker.token, "Content-Type": "application/octet-stream"}
            where = "stage" if operation == "import_bytes" else "file"
            url = f"{maker.url}{IMAGES}/{image}/{where}"
            requests.put(url, data=GUEST, headers=headers, timeout=TIMEOUT).raise_for_status()
        return image

    def parameter(self, _: Target, name: str) -> str:
        return self.random.choice(self.pools.get(name) or ["missing"])

    def known(self, key: str) -> list[str]:
        return {"member": [self.admin.project], "owner": [self.owner.project]}.get(key, [])

    def example(self, target: Target) -> Any:
        return target.example

    def headers(self, _: Target) -> dict[str, str]:
        return {}
