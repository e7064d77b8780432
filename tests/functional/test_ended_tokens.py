"""A token that expired, was forged, was revoked, or whose user is gone: each room refuses it in its service's words."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from attrs import evolve
from sites import Site, open_site
from substrate import eventually

from control.identity.claims import fernet, seal
from schemas.settings import BusSettings, StoreSettings

KEYSTONE: Final = {
    "error": {
        "code": 401,
        "title": "Unauthorized",
        "message": "The request you have made requires authentication.",
    }
}
GLANCE: Final = {
    "code": "401 Unauthorized",
    "title": "Unauthorized",
    "message": "This server could not verify that you are authorized to access the document you requested. Either you "
    "supplied the wrong credentials (e.g., bad password), or your browser does not understand how to supply the "
    "credentials required.<br /><br />\n\n\n",
}
ROOMS: Final = {
    "/compute/v2.1/flavors": KEYSTONE,
    "/identity/v3/auth/projects": KEYSTONE,
    "/image/v2/images": GLANCE,
}


async def expired(site: Site, token: str) -> str:
    key = fernet(site.tokens.keys.signing(datetime.now(UTC)).secret)
    claims = (await site.tokens.inspect(token)).claims
    return seal(evolve(claims, expires=datetime.now(UTC) - timedelta(seconds=1)), key)


async def forged(_: Site, token: str) -> str:
    return token[:-4] + "AAAA"


async def revoked(site: Site, token: str) -> str:
    headers = {"X-Auth-Token": token, "X-Subject-Token": token}
    assert (await site.http.delete("/identity/v3/auth/tokens", headers=headers)).status_code == 204
    return token


async def of_a_deleted_user(site: Site, token: str) -> str:
    path = f"/identity/v3/users/{await site.user_id('demo')}"
    assert (await site.http.delete(path, headers=await site.as_admin())).status_code == 204
    return token


async def missing(_: Site, __: str) -> str:
    return ""


@pytest.mark.parametrize("end", [missing, expired, forged, revoked, of_a_deleted_user])
async def test_every_room_refuses_it_in_its_words(
    store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path, end: object
) -> None:
    assert callable(end)
    async with open_site(store_settings, bus_settings, tmp_path) as site:
        token = await site.token("demo", "demo", "demo")
        headers = {"X-Auth-Token": token, "Accept": "application/json"}

        async def all_answer() -> bool:
            return {(await site.http.get(path, headers=headers)).status_code for path in ROOMS} == {200}

        await eventually(all_answer)
        ended = {**headers, "X-Auth-Token": await end(site, token)}
        for path, body in ROOMS.items():
            answer = await site.http.get(path, headers=ended)
            assert (answer.status_code, answer.json()) == (401, body), path
            assert answer.headers["www-authenticate"] == 'Keystone uri="http://api/identity"'
