"""What a tenant can write into the store has a limit: in number, in size, in a time, and in all."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from image_client import OCTETS, Client
from sites import URL, Site, open_site

from control.identity import tokens
from kv.keys import Global
from schemas.errors import Unauthorized
from schemas.settings import ApiSettings, BusSettings, StoreSettings

GIB = 1 << 30
API = ApiSettings(
    public_url=URL, images_per_project=3, image_project_gb=1000 / GIB, uploads_per_project=1, app_credentials_per_user=2
)


@pytest.fixture
async def site(store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(store_settings, bus_settings, tmp_path, API) as site:
        yield site


@pytest.fixture
async def demo(site: Site) -> Client:
    return Client(site, await site.token("demo", "demo", "demo"))


async def test_a_project_has_so_many_images(demo: Client, site: Site) -> None:
    """Members made images without end: 44 MB a second filled etcd within three minutes."""
    made = await asyncio.gather(*(demo.do("POST", "images", json={}) for _ in range(5)))
    assert sorted(answer.status_code for answer in made) == [201, 201, 201, 413, 413]
    refused = await demo.do("POST", "images", json={})
    assert "image_count_total is over limit of 3 due to current usage 3 and delta 1" in refused.json()["message"]
    gone = next(answer for answer in made if answer.status_code == 201).json()
    assert (await demo.do("DELETE", f"images/{gone['id']}")).status_code == 204
    assert (await demo.do("POST", "images", json={})).status_code == 201
    admin = Client(site, await site.token("admin", "secret", "admin"))
    for _ in range(API.images_per_project + 1):
        await admin.create()


async def test_a_project_has_so_many_bytes(demo: Client) -> None:
    first, second = await demo.create(), await demo.create()
    assert (await demo.upload(first, b"x" * 600)).status_code == 204
    refused = await demo.upload(second, b"y" * 600)
    assert refused.status_code == 413
    assert "image_size_total is over limit of 1000 due to current usage 600 and delta 600" in refused.json()["message"]
    assert (await demo.show(second))["status"] == "queued"
    assert (await demo.do("DELETE", f"images/{first['id']}")).status_code == 204
    assert (await demo.upload(second, b"y" * 600)).status_code == 204


async def test_the_record_of_an_image_stays_small(demo: Client) -> None:
    """128 properties of 64 kB each were one record of 8 MB."""
    large = {f"p{n}": "x" * 60_000 for n in range(2)}
    assert (await demo.do("POST", "images", json=large)).status_code == 413
    image = await demo.create(p0="x" * 60_000)
    answer = await demo.patch(image, {"op": "add", "path": "/p1", "value": "x" * 60_000})
    assert answer.status_code == 413
    many = [{"op": "add", "path": "/p0", "value": "x"}] * 1000
    assert (await demo.patch(image, *many)).status_code == 413


async def test_a_project_uploads_so_much_at_once(demo: Client) -> None:
    """Nothing bounded how many uploads filled `spool_dir`, nor for how long."""
    first, second = await demo.create(), await demo.create()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"x"
        begun.set()
        await go_on.wait()
        yield b"y"

    uploading = asyncio.create_task(demo.upload(first, slowly()))
    await begun.wait()
    refused = await demo.do("PUT", f"images/{second['id']}/stage", content=b"z", headers=OCTETS)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "30")
    go_on.set()
    assert (await uploading).status_code == 204
    assert (await demo.upload(second, b"z")).status_code == 204


async def test_an_upload_comes_to_its_end(
    store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path
) -> None:
    api = evolve(API, upload_hours=0.3 / 3600)
    async with open_site(store_settings, bus_settings, tmp_path, api) as site:
        demo = Client(site, await site.token("demo", "demo", "demo"))
        image = await demo.create()

        async def never() -> AsyncIterator[bytes]:
            yield b"x"
            await asyncio.Event().wait()

        assert (await demo.upload(image, never())).status_code == 503
        assert (await demo.show(image))["status"] == "queued"


async def test_a_project_writes_so_fast(
    store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path
) -> None:
    """One image patched again and again filled the store as well."""
    api = evolve(API, writes_per_second=0.01, writes_burst=3)
    async with open_site(store_settings, bus_settings, tmp_path, api) as site:
        demo = Client(site, await site.token("demo", "demo", "demo"))
        image = await demo.create()
        change: Any = {"op": "replace", "path": "/name", "value": "x"}
        answers = [await demo.patch(image, change) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert int(answers[-1].headers["retry-after"]) > 1
        assert (await demo.do("GET", f"images/{image['id']}")).status_code == 200
        assert (await demo.do("DELETE", f"images/{image['id']}")).status_code == 204


async def test_tenants_do_not_fill_the_reserve(
    store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path
) -> None:
    """A member could fill the store to the last byte, and nobody could write any more."""
    async with open_site(store_settings, bus_settings, tmp_path, API) as site:
        demo = Client(site, await site.token("demo", "demo", "demo"))
        image = await demo.create()
    async with open_site(store_settings, bus_settings, tmp_path, evolve(API, store_quota_gb=1024 / GIB)) as site:
        demo = Client(site, await site.token("demo", "demo", "demo"))
        refused = await demo.do("POST", "images", json={})
        assert refused.status_code == 503
        assert "kept for deletes and operators" in refused.json()["message"]
        assert (await demo.do("DELETE", f"images/{image['id']}")).status_code == 204
        await Client(site, await site.token("admin", "secret", "admin")).create()


async def test_application_credentials_are_few_and_small(site: Site) -> None:
    """One of 110 kB after another was taken."""
    headers = {"X-Auth-Token": await site.token("demo", "demo", "demo")}
    path = f"/identity/v3/users/{await site.user_id('demo')}/application_credentials"

    async def make(**about: Any) -> int:
        return (await site.http.post(path, json={"application_credential": about}, headers=headers)).status_code

    assert await make(name="large", description="x" * 100_000) == 413
    assert await make(name="secret", secret="x" * 100_000) == 400
    codes = await asyncio.gather(*(make(name=f"n{n}") for n in range(4)))
    assert codes.count(201) <= API.app_credentials_per_user
    while codes.count(201) < API.app_credentials_per_user:
        codes.append(await make(name=f"m{len(codes)}"))
    assert await make(name="more") == 403


async def test_revoked_tokens_do_not_pile_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each revocation left a record for three days, and one user made 112 a second."""
    monkeypatch.setattr(tokens, "MOST_REVOKED", 3)
    other = await site.token("demo", "demo", "demo")
    for _ in range(4):
        token = await site.token("demo", "demo", "demo")
        headers = {"X-Auth-Token": token, "X-Subject-Token": token}
        assert (await site.http.delete("/identity/v3/auth/tokens", headers=headers)).status_code == 204
        with pytest.raises(Unauthorized):
            await site.tokens.verify(token)
    with pytest.raises(Unauthorized):
        await site.tokens.verify(other)
    assert await site.top.store.count(Global.REVOKED_TOKENS.under(await site.user_id("demo"))) == 0
    assert (await site.login("demo", "demo", "demo")).status_code == 201


@pytest.mark.parametrize("digits", [19, 5000])
async def test_numbers_of_any_length_are_answered(site: Site, demo: Client, digits: int) -> None:
    """Python refuses to read a number of 5,000 digits: `limit=` with one was a 500."""
    number, admin = "9" * digits, await site.as_admin()
    for path in (f"images?limit={number}", f"images?size_min={number}"):
        assert (await demo.do("GET", path)).status_code < 500, path
    for noun in ("users", "projects", "roles"):
        answer = await site.http.get(f"/identity/v3/{noun}", params={"limit": number}, headers=admin)
        assert answer.status_code == 400
    image = await demo.create()
    assert (await demo.upload(image, b"x")).status_code == 204
    ranged = await demo.do("GET", f"images/{image['id']}/file", headers={"Range": f"bytes=0-{number}"})
    assert ranged.status_code in (206, 416)
