"""What one user does with images over HTTP, and files that are images."""

import struct
from collections.abc import AsyncIterator
from typing import Any

import httpx
from sites import Site

OCTETS = {"Content-Type": "application/octet-stream"}
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}


class Client:
    """What one user does with images."""

    def __init__(self, site: Site, token: str) -> None:
        self.http = site.http
        self.headers = {"X-Auth-Token": token, "Accept": "application/json"}

    async def do(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = self.headers | more.pop("headers", {})
        return await self.http.request(method, f"/image/v2/{path}", headers=headers, **more)

    async def create(self, **body: Any) -> dict[str, Any]:
        made = await self.do("POST", "images", json={"disk_format": "raw", "container_format": "bare", **body})
        assert made.status_code == 201, made.text
        return made.json()

    async def upload(self, image: dict[str, Any], data: bytes | AsyncIterator[bytes]) -> httpx.Response:
        return await self.do("PUT", f"images/{image['id']}/file", content=data, headers=OCTETS)

    async def show(self, image: dict[str, Any]) -> dict[str, Any]:
        return (await self.do("GET", f"images/{image['id']}")).json()

    async def patch(self, image: dict[str, Any], *operations: dict[str, Any]) -> httpx.Response:
        return await self.do("PATCH", f"images/{image['id']}", json=list(operations), headers=PATCH)


def qcow2(virtual: int, *, backing: int = 0, incompatible: int = 0) -> bytes:
    head = struct.pack(">4sIQIIQ", b"QFI\xfb", 3, backing, 8 if backing else 0, 16, virtual)
    return head.ljust(72, b"\0") + struct.pack(">Q", incompatible) + bytes(4096)
