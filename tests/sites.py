"""The identity, image and compute apps over HTTP, on real stores, as the composition mounts them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from attrs import frozen
from starlette.applications import Starlette
from starlette.routing import Mount
from substrate import eventually

from control.compute.app import ComputeApp
from control.identity.accounts import USERS, find_by_name
from control.identity.app import identity_app
from control.identity.bootstrap import bootstrap_identity
from control.identity.tokens import Tokens
from control.images.app import images_app
from control.secrets import SiteKey
from control.top import Top, open_top
from schemas.settings import ApiSettings, BusSettings, GlobalSettings, Settings, StoreSettings

URL = "http://api"


@frozen
class Site:
    top: Top
    tokens: Tokens
    http: httpx.AsyncClient

    async def bootstrap(self, admin: str = "secret", demo: str = "demo") -> None:
        await bootstrap_identity(
            self.top.store, self.top.key, admin_password=admin, demo_password=demo, region="RegionOne"
        )

    async def login(self, user: str, password: str, project: str | None = None) -> httpx.Response:
        body: dict[str, Any] = {
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {"user": {"name": user, "domain": {"id": "default"}, "password": password}},
                }
            }
        }
        if project:
            body["auth"]["scope"] = {"project": {"name": project, "domain": {"name": "Default"}}}
        return await self.http.post("/identity/v3/auth/tokens", json=body)

    async def token(self, user: str, password: str, project: str) -> str:
        answer = await self.login(user, password, project)
        assert answer.status_code == 201, answer.text
        return answer.headers["x-subject-token"]

    async def as_admin(self) -> dict[str, str]:
        return {"X-Auth-Token": await self.token("admin", "secret", "admin")}

    async def user_id(self, name: str) -> str:
        found = await find_by_name(self.top.store, USERS, name)
        assert found
        return found.value.id


@asynccontextmanager
async def open_site(
    store: StoreSettings, bus: BusSettings, directory: Path, api: ApiSettings | None = None
) -> AsyncIterator[Site]:
    """Bootstrapped, with the users admin and demo."""
    key_file = directory / "site.key"
    SiteKey.load_or_make(key_file)
    settings = Settings(top=GlobalSettings(store, bus, str(key_file)), api=api or ApiSettings(public_url=URL))
    async with open_top(settings, "test", cell_buses=False) as top:
        tokens = Tokens.at(top)
        app = Starlette(
            routes=[
                Mount("/identity", identity_app(top, tokens)),
                Mount("/image", images_app(top, tokens)),
                Mount("/compute", ComputeApp(top, tokens)),
            ]
        )
        running = asyncio.create_task(tokens.run())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=URL) as client:
            site = Site(top, tokens, client)
            await site.bootstrap()
            await eventually(lambda: tokens.ready)
            yield site
        running.cancel()
