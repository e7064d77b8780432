"""A Placement of its own for a test: view, writer and API over one store, and a client of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

import httpx
from attrs import evolve, field, frozen

from control.api.frame import MAX_RESHAPE, Frame
from control.placement.api.asker import ByHeaders
from control.placement.api.room import Room, open_room
from kv.store import Store
from schemas.settings import PlacementSettings

SETTINGS = PlacementSettings(auth_strategy="noauth2", enforce_new_defaults=False)


@frozen
class Client:
    """One asker at one microversion."""

    http: httpx.AsyncClient
    version: str = "1.39"
    headers: dict[str, str] = field(factory=lambda: {"x-auth-token": "admin"})

    def at(self, version: str) -> "Client":
        return evolve(self, version=version)

    async def send(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        sent = {**self.headers, "openstack-api-version": f"placement {self.version}", **headers}
        return await self.http.request(method, path, json=body, headers=sent)

    async def ok(self, method: str, path: str, body: Any = None, code: int = 200) -> Any:
        answer = await self.send(method, path, body)
        assert answer.status_code == code, answer.text
        return answer.json() if answer.content else None

    async def get(self, path: str) -> Any:
        return await self.ok("GET", path)

    async def refused(self, code: int, method: str, path: str, body: Any = None, label: str | None = None) -> str:
        """The detail of the error."""
        answer = await self.send(method, path, body)
        assert answer.status_code == code, answer.text
        (error,) = answer.json()["errors"]
        assert error["status"] == code
        if label is not None:
            assert error["code"] == f"placement.{label}", error
        return str(error["detail"])

    async def provider(self, name: str, parent: str | None = None, **totals: int) -> str:
        """A new one with these inventories; its uuid."""
        uuid = str(uuid4())
        body = {"name": name, "uuid": uuid, **({"parent_provider_uuid": parent} if parent else {})}
        await self.ok("POST", "/resource_providers", body)
        if totals:
            offers = {name: {"total": total} for name, total in totals.items()}
            await self.offer(uuid, 0, **offers)
        return uuid

    async def offer(self, uuid: str, generation: int, **inventories: dict[str, Any]) -> Any:
        body = {"resource_provider_generation": generation, "inventories": inventories}
        return await self.ok("PUT", f"/resource_providers/{uuid}/inventories", body)


def claim(resources: dict[str, dict[str, int]], generation: int | None = None, **more: Any) -> dict[str, Any]:
    """A body of 1.38."""
    body = {
        "allocations": {uuid: {"resources": amounts} for uuid, amounts in resources.items()},
        "project_id": "project",
        "user_id": "user",
        "consumer_generation": generation,
        "consumer_type": "INSTANCE",
    }
    return {**body, **more}


@asynccontextmanager
async def opened(store: Store, settings: PlacementSettings = SETTINGS) -> AsyncIterator[Room]:
    """As a process of its own would be."""
    room = open_room(store, ByHeaders(), settings)
    task = asyncio.create_task(room.run())
    try:
        async with asyncio.timeout(30):
            await room.view.synced.wait()
            await room.memberships.synced.wait()
        yield room
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def client_of(room: Room) -> AsyncIterator[Client]:
    transport = httpx.ASGITransport(app=Frame(room.app, 30, MAX_RESHAPE))
    async with httpx.AsyncClient(transport=transport, base_url="http://placement.test") as http:
        yield Client(http)
