"""What the manager of the domain may do to whom."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sites import Site, open_site

from schemas.identity import DOMAIN
from schemas.settings import BusSettings, StoreSettings

WHO_MAY_NOT = ("admin", "nova", "auditor")


@pytest.fixture
async def site(store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(store_settings, bus_settings, tmp_path) as site:
        yield site


class Ids:
    """Of what the site has: made by its administrator."""

    def __init__(self, site: Site, admin: dict[str, str]) -> None:
        self.site, self.headers = site, admin

    async def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return await self.site.http.request(method, f"/identity/v3/{path}", headers=self.headers, json=body)

    async def of(self, noun: str, name: str) -> str:
        return (await self.ask("GET", f"{noun}s?name={name}")).json()[f"{noun}s"][0]["id"]

    async def user(self, name: str, role: str, place: str) -> str:
        made = await self.ask("POST", "users", {"user": {"name": name, "password": "own"}})
        user = made.json()["user"]["id"]
        given = await self.ask("PUT", f"{place}/users/{user}/roles/{await self.of('role', role)}")
        assert given.status_code == 204, given.text
        return user


@pytest.fixture
async def ids(site: Site) -> Ids:
    return Ids(site, await site.as_admin())


@pytest.fixture
async def manager(site: Site, ids: Ids) -> Ids:
    """With a token for the domain; beside it an auditor of the system and a service's user."""
    await ids.user("boss", "manager", f"domains/{DOMAIN}")
    await ids.user("auditor", "reader", "system")
    await ids.user("nova", "service", f"projects/{await ids.of('project', 'service')}")
    await ids.user("worker", "member", f"projects/{await ids.of('project', 'demo')}")
    who = {"name": "boss", "domain": {"id": DOMAIN}, "password": "own"}
    auth = {"identity": {"methods": ["password"], "password": {"user": who}}, "scope": {"domain": {"id": DOMAIN}}}
    answer = await site.http.post("/identity/v3/auth/tokens", json={"auth": auth})
    assert answer.status_code == 201, answer.text
    return Ids(site, {"X-Auth-Token": answer.headers["x-subject-token"]})


@pytest.mark.parametrize("name", WHO_MAY_NOT)
async def test_a_manager_does_not_touch_who_may_more(site: Site, ids: Ids, manager: Ids, name: str) -> None:
    """The one domain holds the administrators too: its manager set the password of one and logged in with it."""
    user, role, project = await ids.of("user", name), await ids.of("role", "member"), await ids.of("project", "demo")
    grant = f"projects/{project}/users/{user}/roles/{role}"
    for method, path, body in (
        ("PATCH", f"users/{user}", {"user": {"password": "taken"}}),
        ("PATCH", f"users/{user}", {"user": {"enabled": False}}),
        ("PATCH", f"users/{user}", {"user": {"name": "nobody"}}),
        ("PATCH", f"users/{user}", {"user": {"options": {"lock_password": True}}}),
        ("DELETE", f"users/{user}", None),
        ("PUT", grant, None),
        ("DELETE", grant, None),
        ("DELETE", f"domains/{DOMAIN}/users/{user}/roles/{role}", None),
        ("DELETE", f"users/{user}/application_credentials/any", None),
    ):
        answer = await manager.ask(method, path, body)
        assert answer.status_code == 403, (method, path, body, answer.text)
    assert (await site.login(name, "taken")).status_code == 401
    assert (await ids.ask("PATCH", f"users/{user}", {"user": {"description": "mine"}})).status_code == 200


@pytest.mark.parametrize("project", ["admin", "service"])
async def test_a_manager_does_not_lock_administrators_out(ids: Ids, manager: Ids, project: str) -> None:
    """Tokens for a disabled project are over, so the project that an administrator works in is out of reach too."""
    path = f"projects/{await ids.of('project', project)}"
    for body in ({"enabled": False}, {"name": "gone"}):
        assert (await manager.ask("PATCH", path, {"project": body})).status_code == 403
    assert (await manager.ask("DELETE", path)).status_code == 403
    assert (await manager.ask("PATCH", f"domains/{DOMAIN}", {"domain": {"enabled": False}})).status_code == 403


async def test_a_manager_manages_the_others(site: Site, ids: Ids, manager: Ids) -> None:
    worker, role, project = (
        await ids.of("user", "worker"),
        await ids.of("role", "reader"),
        await ids.of("project", "demo"),
    )
    assert (await manager.ask("PATCH", f"users/{worker}", {"user": {"password": "new"}})).status_code == 200
    assert (await site.login("worker", "new", "demo")).status_code == 201
    grant = f"projects/{project}/users/{worker}/roles"
    assert (await manager.ask("PUT", f"{grant}/{role}")).status_code == 204
    assert (await manager.ask("DELETE", f"{grant}/{role}")).status_code == 204
    assert (await manager.ask("PUT", f"{grant}/{await ids.of('role', 'admin')}")).status_code == 403
    assert (await manager.ask("PATCH", f"projects/{project}", {"project": {"description": "x"}})).status_code == 200
    assert (await manager.ask("DELETE", f"users/{worker}")).status_code == 204
