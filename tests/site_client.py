"""An HTTP client of a running site for benches and chaos tests: logs in, seeds, speaks compute at one version."""

from typing import Any
from uuid import uuid4

import httpx
from attrs import frozen

VERSION = "2.37"
"""the first at which a server may ask for no network at all"""
GUEST = b"a disk of a guest that is only simulated\n" * 100

FLAVOR = {"name": "bench", "id": "bench", "vcpus": 1, "ram": 64, "disk": 1}
HUGE = {"name": "huge", "id": "huge", "vcpus": 4096, "ram": 64, "disk": 1}
"""fits no host"""


@frozen(eq=False)
class SiteClient:
    """One user in one project. The caller closes `http`."""

    http: httpx.AsyncClient
    compute: str
    image: str
    project: str
    headers: dict[str, str]

    @classmethod
    async def login(
        cls, endpoints: dict[str, str], user: str, project: str, password: str, timeout: float = 60.0
    ) -> "SiteClient":
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=256)
        # No CA files to load and no proxy to look for: it is plain HTTP on the loopback address.
        http = httpx.AsyncClient(limits=limits, timeout=timeout, trust_env=False, verify=False)
        who = {"name": user, "domain": {"id": "default"}, "password": password}
        scope = {"project": {"name": project, "domain": {"id": "default"}}}
        login = {"auth": {"identity": {"methods": ["password"], "password": {"user": who}}, "scope": scope}}
        answer = await http.post(f"{endpoints['identity']}/auth/tokens", json=login)
        answer.raise_for_status()
        headers = {"X-Auth-Token": answer.headers["X-Subject-Token"], "OpenStack-API-Version": f"compute {VERSION}"}
        scoped = answer.json()["token"]["project"]["id"]
        return cls(http, endpoints["compute"], endpoints["image"], scoped, headers)

    async def send(self, method: str, path: str, body: Any = None, params: dict[str, str] | None = None) -> Any:
        """The response, whatever its code."""
        return await self.http.request(method, self.compute + path, json=body, params=params, headers=self.headers)

    async def ok(self, method: str, path: str, body: Any = None, params: dict[str, str] | None = None) -> Any:
        """The body, if any. Raises httpx.HTTPStatusError."""
        answer = (await self.send(method, path, body, params)).raise_for_status()
        return answer.json() if answer.content else None

    async def seed_flavor(self, flavor: dict[str, Any] = FLAVOR) -> str:
        answer = await self.send("POST", "/flavors", {"flavor": flavor})
        if answer.status_code != 409:  # it is there from an earlier run
            answer.raise_for_status()
        return str(flavor["id"])

    async def seed_image(self, name: str = "bench") -> str:
        """A public image of this name; made when there is none."""
        known = await self.http.get(f"{self.image}/v2/images", params={"name": name}, headers=self.headers)
        for image in known.raise_for_status().json()["images"]:
            if image["status"] == "active":
                return str(image["id"])
        about = {
            "name": name,
            "disk_format": "raw",
            "container_format": "bare",
            "visibility": "public",
            "id": str(uuid4()),
        }
        made = await self.http.post(f"{self.image}/v2/images", json=about, headers=self.headers)
        ident = made.raise_for_status().json()["id"]
        bytes_ = {**self.headers, "Content-Type": "application/octet-stream"}
        uploaded = await self.http.put(f"{self.image}/v2/images/{ident}/file", content=GUEST, headers=bytes_)
        uploaded.raise_for_status()
        return str(ident)

    async def lift_quota(self) -> None:
        unlimited = {"instances": -1, "cores": -1, "ram": -1}
        await self.ok("PUT", f"/os-quota-sets/{self.project}", {"quota_set": unlimited})

    def draft(self, name: str, flavor: str, image: str) -> dict[str, Any]:
        return {"server": {"name": name, "flavorRef": flavor, "imageRef": image, "networks": "none"}}

    async def show(self, server: str) -> dict[str, Any] | None:
        """None when it is gone."""
        answer = await self.send("GET", f"/servers/{server}")
        if answer.status_code == 404:
            return None
        shown: dict[str, Any] = answer.raise_for_status().json()["server"]
        return shown
