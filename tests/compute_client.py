"""A client of the compute API for tests."""

from typing import Any

import httpx
from attrs import frozen


@frozen
class Client:
    """One person at one microversion; `call` returns status and body."""

    http: httpx.AsyncClient
    token: str = "member"
    version: str = "2.1"

    async def send(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        sent = {"X-Auth-Token": self.token, "OpenStack-API-Version": f"compute {self.version}", **headers}
        return await self.http.request(method, f"/v2.1{path}", json=body, headers=sent)

    async def get(self, path: str) -> Any:
        return await self.ok("GET", path)

    async def ok(self, method: str, path: str, body: Any = None, code: int = 200) -> Any:
        answer = await self.send(method, path, body)
        assert answer.status_code == code, answer.text
        return answer.json() if answer.content else None

    async def refused(self, code: int, method: str, path: str, body: Any = None) -> str:
        """The message of the fault."""
        answer = await self.send(method, path, body)
        assert answer.status_code == code, answer.text
        (fault,) = answer.json().values()
        assert fault["code"] == code
        return str(fault["message"])
