"""Who asks: three users with real tokens."""

from typing import Any, Final

import requests
from attrs import define, field

ROLES: Final = ("admin", "member", "reader")
PASSWORD: Final = "a-password-of-the-fuzzer"
TIMEOUT: Final = 60.0


@define(eq=False)
class Person:
    """A user in a project; `ok` is for what has to work."""

    role: str
    url: str
    user: str
    project: str
    token: str
    version: str
    http: requests.Session = field(factory=requests.Session)

    @property
    def headers(self) -> dict[str, str]:
        return {
            "X-Auth-Token": self.token,
            "OpenStack-API-Version": f"compute {self.version}",
            "Accept": "application/json",
        }

    def send(self, method: str, path: str, body: Any = None, version: str = "") -> requests.Response:
        headers = self.headers | ({"OpenStack-API-Version": f"compute {version}"} if version else {})
        return self.http.request(method, f"{self.url}{path}", json=body, headers=headers, timeout=TIMEOUT)

    def ok(self, method: str, path: str, body: Any = None, version: str = "") -> Any:
        answer = self.send(method, path, body, version)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None


def log_in(url: str, role: str, user: str, password: str, project: str, version: str) -> Person:
    domain = {"id": "default"}
    who = {"user": {"name": user, "domain": domain, "password": password}}
    scope = {"project": {"name": project, "domain": domain}}
    login = {"auth": {"identity": {"methods": ["password"], "password": who}, "scope": scope}}
    answer = requests.post(f"{url}/identity/v3/auth/tokens", json=login, timeout=TIMEOUT)
    answer.raise_for_status()
    token = answer.json()["token"]
    return Person(role, url, token["user"]["id"], token["project"]["id"], answer.headers["X-Subject-Token"], version)


def people(url: str, password: str, version: str) -> dict[str, Person]:
    """The admin of the site, and a member and a reader of the project `demo`, made when they are not there."""
    admin = log_in(url, "admin", "admin", password, "admin", version)
    known = {p["name"]: p["id"] for p in admin.ok("GET", "/identity/v3/projects")["projects"]}
    roles = {r["name"]: r["id"] for r in admin.ok("GET", "/identity/v3/roles")["roles"]}
    there = {u["name"]: u["id"] for u in admin.ok("GET", "/identity/v3/users")["users"]}
    found = {"admin": admin}
    for role in ("member", "reader"):
        name = f"fuzz-{role}"
        if name not in there:
            made = admin.ok("POST", "/identity/v3/users", {"user": {"name": name, "password": PASSWORD}})
            there[name] = made["user"]["id"]
        admin.ok("PUT", f"/identity/v3/projects/{known['demo']}/users/{there[name]}/roles/{roles[role]}")
        found[role] = log_in(url, role, name, PASSWORD, "demo", version)
    return found
