"""Who is kept from logging in: accounts without a password from nobody, floods of one source from nobody but it."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sites import URL, Site, open_site

from control.identity.attempts import PAIR
from control.identity.passwords import HASHER
from kv.keys import Global
from schemas.settings import ApiSettings, BusSettings, LoginSettings, StoreSettings

LOCKOUT = LoginSettings(lockout_failure_attempts=3, lockout_duration=2)


@pytest.fixture
async def site(store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(store_settings, bus_settings, tmp_path) as site:
        yield site


@pytest.fixture
async def locking(store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path) -> AsyncIterator[Site]:
    api = ApiSettings(public_url=URL, login=LOCKOUT)
    async with open_site(store_settings, bus_settings, tmp_path, api) as site:
        yield site


@pytest.mark.parametrize("body", [{}, {"password": None}, {"password": ""}])
async def test_no_password_opens_a_user_without_one(site: Site, body: dict[str, str | None]) -> None:
    """The hash that unknown users were compared with was one of a constant text in the source, and it opened every user
    that was created without a password: so did a change of the password with it."""
    admin = await site.as_admin()
    made = await site.http.post("/identity/v3/users", json={"user": {"name": "robot", **body}}, headers=admin)
    assert made.status_code == 201
    path = f"/identity/v3/users/{made.json()['user']['id']}/password"
    for password in ("nobody has this password", "", "robot"):
        assert (await site.login("robot", password)).status_code == 401
        change = {"user": {"original_password": password, "password": "mine"}}
        assert (await site.http.post(path, json=change)).status_code == 401


async def test_nobody_changes_a_password_to_none(site: Site) -> None:
    path = f"/identity/v3/users/{await site.user_id('demo')}/password"
    change = {"user": {"original_password": "demo", "password": ""}}
    assert (await site.http.post(path, json=change)).status_code == 400
    assert (await site.login("demo", "")).status_code == 401
    assert (await site.login("demo", "demo")).status_code == 201


async def test_a_flood_of_log_ins_does_not_keep_a_real_one_out(site: Site) -> None:
    """510 bogus log-ins at once kept a real one of the same machine waiting for 34 s."""
    assert (await site.login("demo", "demo")).status_code == 201
    bogus = [asyncio.create_task(site.login("admin", f"wrong {n}")) for n in range(510)]
    await asyncio.sleep(0.2)
    began = time.monotonic()
    assert (await site.login("demo", "demo")).status_code == 201
    took = time.monotonic() - began
    answers = [await answer for answer in bogus]
    assert {answer.status_code for answer in answers} == {401, 429}
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) > 400
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert took < 3


async def test_who_guesses_has_to_wait(site: Site) -> None:
    """Nothing slowed down who tried one password after another."""
    for _ in range(PAIR.free):
        assert (await site.login("demo", "wrong")).status_code == 401
    assert (await site.login("demo", "demo")).status_code == 429
    assert (await site.login("admin", "secret")).status_code == 201


async def test_an_account_is_locked_as_keystone_locks_it(locking: Site) -> None:
    """Every process knows of a lock, the right password does not lift it, time or an administrator does."""
    admin, user = await locking.as_admin(), await locking.user_id("demo")
    for _ in range(LOCKOUT.lockout_failure_attempts):
        assert (await locking.login("demo", "wrong")).status_code == 401
    refused = await locking.login("demo", "demo")
    assert refused.status_code == 401
    assert "locked" not in refused.text, "it would tell that the account exists"
    path = f"/identity/v3/users/{user}"
    assert (await locking.http.patch(path, json={"user": {"enabled": True}}, headers=admin)).status_code == 200
    assert (await locking.login("demo", "demo")).status_code == 201
    assert await locking.top.store.get(Global.FAILED_LOGINS(user)) is None
    for _ in range(LOCKOUT.lockout_failure_attempts):
        await locking.login("demo", "wrong")
    assert (await locking.login("demo", "demo")).status_code == 401
    await asyncio.sleep(LOCKOUT.lockout_duration)
    assert (await locking.login("demo", "demo")).status_code == 201
    ignore = {"user": {"options": {"ignore_lockout_failure_attempts": True}}}
    assert (await locking.http.patch(path, json=ignore, headers=admin)).status_code == 200
    for _ in range(LOCKOUT.lockout_failure_attempts + 1):
        assert (await locking.login("demo", "wrong")).status_code == 401
    assert (await locking.login("demo", "demo")).status_code == 201


def test_hashes_are_of_one_cost() -> None:
    assert HASHER.hash("x").startswith("$argon2id$v=19$m=19456,t=2,p=1$")
