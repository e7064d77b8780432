"""Identity on a real etcd: who gets a token, what ends it, and what the API shows."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from attrs import evolve
from cryptography.fernet import Fernet
from sites import Site, open_site
from substrate import eventually

from control.identity.accounts import USERS, update
from control.identity.claims import fernet, seal
from control.identity.keys import add_signing_key, retire_signing_keys
from kv.keys import Global
from schemas.errors import Unauthorized
from schemas.settings import BusSettings, StoreSettings

REFUSED = "The request you have made requires authentication."


@pytest.fixture
async def site(store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(store_settings, bus_settings, tmp_path) as site:
        yield site


async def test_a_password_gets_a_token_that_says_who_and_what_for(site: Site) -> None:
    answer = await site.login("admin", "secret", "admin")
    assert answer.status_code == 201
    token = answer.json()["token"]
    assert token["methods"] == ["password"]
    assert token["user"]["name"] == "admin"
    assert token["user"]["domain"] == {"id": "default", "name": "Default"}
    assert token["project"]["name"] == "admin"
    assert [role["name"] for role in token["roles"]] == ["admin", "manager", "member", "reader"]
    assert {service["type"] for service in token["catalog"]} == {"compute", "placement", "identity", "image"}
    compute = next(service for service in token["catalog"] if service["type"] == "compute")
    assert {e["url"] for e in compute["endpoints"]} == {"http://api/compute/v2.1"}
    assert {e["interface"] for e in compute["endpoints"]} == {"public", "internal", "admin"}
    identity = await site.tokens.verify(answer.headers["x-subject-token"])
    assert (identity.user_name, identity.project_name) == ("admin", "admin")
    assert identity.roles == {"admin", "manager", "member", "reader"}
    assert identity.is_admin


@pytest.mark.parametrize(
    ("user", "password", "project"),
    [
        ("admin", "wrong", "admin"),
        ("nobody", "secret", "admin"),
        ("admin", "secret", "nowhere"),
        ("demo", "demo", "admin"),
    ],
)
async def test_whoever_is_refused_hears_the_same(site: Site, user: str, password: str, project: str) -> None:
    answer = await site.login(user, password, project)
    assert answer.status_code == 401
    assert answer.json() == {"error": {"code": 401, "message": REFUSED, "title": "Unauthorized"}}
    assert answer.headers["www-authenticate"] == 'Keystone uri="http://api/identity"'


async def test_an_expired_token_is_refused(site: Site) -> None:
    token = await site.token("demo", "demo", "demo")
    standing = await site.tokens.inspect(token)
    key = site.tokens.keys.signing(datetime.now(UTC))
    old = evolve(standing.claims, expires=datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(Unauthorized, match=REFUSED):
        await site.tokens.verify(seal(old, fernet(key.secret)))


async def test_a_token_that_expires_while_it_is_remembered_is_refused(site: Site) -> None:
    token = await site.token("demo", "demo", "demo")
    standing = await site.tokens.inspect(token)
    key = site.tokens.keys.signing(datetime.now(UTC))
    short = seal(evolve(standing.claims, expires=datetime.now(UTC) + timedelta(seconds=2)), fernet(key.secret))
    await site.tokens.verify(short)

    async def refused() -> bool:
        try:
            await site.tokens.verify(short)
        except Unauthorized:
            return True
        return False

    assert await eventually(refused)


async def test_a_forged_token_is_refused(site: Site) -> None:
    token = await site.token("admin", "secret", "admin")
    claims = (await site.tokens.inspect(token)).claims
    forged = [seal(claims, Fernet(Fernet.generate_key())), token[:-6] + "AAAAAA", "", "x" * 5000, "ü"]
    for candidate in forged:
        with pytest.raises(Unauthorized):
            await site.tokens.verify(candidate)


async def test_a_disabled_user_loses_tokens_and_logins_at_once(site: Site) -> None:
    token = await site.token("demo", "demo", "demo")
    demo = await site.user_id("demo")
    answer = await site.http.patch(
        f"/identity/v3/users/{demo}", json={"user": {"enabled": False}}, headers=await site.as_admin()
    )
    assert answer.status_code == 200
    with pytest.raises(Unauthorized):
        await site.tokens.verify(token)
    assert (await site.login("demo", "demo", "demo")).status_code == 401


async def test_what_ends_a_token_elsewhere_ends_it_here(site: Site) -> None:
    """Another process changes the password: the watch brings it."""
    token = await site.token("demo", "demo", "demo")
    demo, version = await site.user_id("demo"), site.tokens.directory.version
    await update(site.top.store, USERS, demo, lambda user: evolve(user, epoch=user.epoch + 1))
    await eventually(lambda: site.tokens.directory.version > version)
    with pytest.raises(Unauthorized, match=REFUSED):
        await site.tokens.verify(token)


async def test_a_deleted_or_disabled_project_ends_its_tokens(site: Site) -> None:
    token = await site.token("demo", "demo", "demo")
    project = (await site.tokens.verify(token)).project
    admin = await site.as_admin()
    path = f"/identity/v3/projects/{project}"
    assert (await site.http.patch(path, json={"project": {"enabled": False}}, headers=admin)).status_code == 200
    with pytest.raises(Unauthorized):
        await site.tokens.verify(token)
    assert (await site.http.patch(path, json={"project": {"enabled": True}}, headers=admin)).status_code == 200
    with pytest.raises(Unauthorized):
        await site.tokens.verify(token)
    again = await site.token("demo", "demo", "demo")
    assert (await site.tokens.verify(again)).project == project
    assert (await site.http.delete(path, headers=admin)).status_code == 204
    with pytest.raises(Unauthorized):
        await site.tokens.verify(again)


async def test_tokens_of_a_disabled_user_stay_ended(site: Site) -> None:
    """A user was disabled since its token was stolen, and enabled again: the stolen token was good again."""
    token, admin = await site.token("demo", "demo", "demo"), await site.as_admin()
    path = f"/identity/v3/users/{await site.user_id('demo')}"
    for enabled in (False, True):
        assert (await site.http.patch(path, json={"user": {"enabled": enabled}}, headers=admin)).status_code == 200
        with pytest.raises(Unauthorized):
            await site.tokens.verify(token)
    assert (await site.login("demo", "demo", "demo")).status_code == 201


async def test_a_revoked_token_and_those_got_with_it_are_refused(site: Site) -> None:
    token = await site.token("demo", "demo", "demo")
    again = await site.http.post(
        "/identity/v3/auth/tokens",
        json={"auth": {"identity": {"methods": ["token"], "token": {"id": token}}, "scope": "unscoped"}},
    )
    assert again.status_code == 201
    assert again.json()["token"]["methods"] == ["token", "password"]
    assert "project" not in again.json()["token"]
    first = await site.tokens.inspect(token)
    child = again.headers["x-subject-token"]
    assert (await site.tokens.inspect(child)).claims.expires == first.claims.expires
    headers = {"X-Auth-Token": token, "X-Subject-Token": token}
    assert (await site.http.delete("/identity/v3/auth/tokens", headers=headers)).status_code == 204
    for ended in (token, child):
        with pytest.raises(Unauthorized):
            await site.tokens.verify(ended)


async def test_a_lost_role_counts_at_once(site: Site) -> None:
    admin = await site.as_admin()
    token = await site.token("demo", "demo", "demo")
    identity = await site.tokens.verify(token)
    roles = (await site.http.get("/identity/v3/roles", headers=admin)).json()["roles"]
    ids = {role["name"]: role["id"] for role in roles}
    path = f"/identity/v3/projects/{identity.project}/users/{identity.user}/roles"
    assert (await site.http.head(f"{path}/{ids['manager']}", headers=admin)).status_code == 404
    assert (await site.http.put(f"{path}/{ids['manager']}", headers=admin)).status_code == 204
    assert (await site.http.head(f"{path}/{ids['manager']}", headers=admin)).status_code == 204
    assert (await site.tokens.verify(token)).roles == {"member", "reader", "manager"}
    for role in ("manager", "member", "reader"):
        assert (await site.http.delete(f"{path}/{ids[role]}", headers=admin)).status_code == 204
    with pytest.raises(Unauthorized):
        await site.tokens.verify(token)


async def test_keys_rotate_under_running_processes(site: Site) -> None:
    keys, now = site.tokens.keys, datetime.now(UTC)
    old = await site.token("demo", "demo", "demo")
    first = keys.signing(now)
    second = await add_signing_key(site.top.store, site.top.key, now + timedelta(seconds=1))
    await eventually(lambda: len(keys.verifying()) == 2)
    assert keys.signing(now).id == first.id, "others may not have heard of the new key yet"
    assert keys.signing(now + timedelta(minutes=1)).id == second.id
    assert await retire_signing_keys(site.top.store, now) == 0, "tokens of the old key live on"
    assert (await site.tokens.verify(old)).user_name == "demo"
    assert await retire_signing_keys(site.top.store, now + timedelta(hours=1)) == 1
    await eventually(lambda: len(keys.verifying()) == 1)
    with pytest.raises(Unauthorized):
        await site.tokens.verify(old)
    assert (await site.tokens.verify(await site.token("demo", "demo", "demo"))).user_name == "demo"


async def test_bootstrap_again_changes_passwords_and_nothing_else(site: Site) -> None:
    async def all_names() -> dict[str, set[str]]:
        store = site.top.store
        return {
            "users": {s.value.id for s in await store.range(Global.USERS.under())},
            "projects": {s.value.id for s in await store.range(Global.IDENTITY_PROJECTS.under())},
            "roles": {s.value.id for s in await store.range(Global.ROLES.under())},
            "keys": {s.value.id for s in await store.range(Global.KEYS.under())},
        }

    before = await all_names()
    token = await site.token("admin", "secret", "admin")
    await site.bootstrap()
    await site.tokens.verify(token)
    await asyncio.gather(site.bootstrap("other"), site.bootstrap("other"))
    assert await all_names() == before
    assert (await site.login("admin", "secret", "admin")).status_code == 401
    assert (await site.login("admin", "other", "admin")).status_code == 201
    with pytest.raises(Unauthorized):
        await site.tokens.verify(token)


async def test_writes_and_lists_are_for_admins(site: Site) -> None:
    demo = {"X-Auth-Token": await site.token("demo", "demo", "demo")}
    me = await site.user_id("demo")
    for path in ("users", "projects", "roles", "services", "endpoints", "role_assignments"):
        answer = await site.http.get(f"/identity/v3/{path}", headers=demo)
        assert answer.status_code == 403, path
    assert answer.json()["error"] == {
        "code": 403,
        "message": "You are not authorized to perform the requested action: identity:list_role_assignments.",
        "title": "Forbidden",
    }
    assert (await site.http.post("/identity/v3/users", json={"user": {"name": "x"}}, headers=demo)).status_code == 403
    assert (await site.http.get(f"/identity/v3/users/{me}", headers=demo)).json()["user"]["name"] == "demo"
    assert (await site.http.get(f"/identity/v3/users/{await site.user_id('admin')}", headers=demo)).status_code == 403
    mine = (await site.http.get("/identity/v3/auth/projects", headers=demo)).json()["projects"]
    assert [project["name"] for project in mine] == ["demo"]
    of_me = {"user.id": me, "include_names": "1"}
    own = await site.http.get("/identity/v3/role_assignments", params=of_me, headers=await site.as_admin())
    assert {a["role"]["name"] for a in own.json()["role_assignments"]} == {"member", "reader"}


async def test_users_change_their_own_password(site: Site) -> None:
    token = await site.token("demo", "demo", "demo")
    path = f"/identity/v3/users/{await site.user_id('demo')}/password"
    headers = {"X-Auth-Token": token}
    wrong = {"user": {"password": "new", "original_password": "wrong"}}
    assert (await site.http.post(path, json=wrong, headers=headers)).status_code == 401
    right = {"user": {"password": "new", "original_password": "demo"}}
    assert (await site.http.post(path, json=right, headers=headers)).status_code == 204
    with pytest.raises(Unauthorized):
        await site.tokens.verify(token)
    assert (await site.login("demo", "new", "demo")).status_code == 201


async def test_names_are_unique_also_after_a_rename(site: Site) -> None:
    admin = await site.as_admin()
    made = await site.http.post("/identity/v3/projects", json={"project": {"name": "p1"}}, headers=admin)
    assert made.status_code == 201
    again = await site.http.post("/identity/v3/projects", json={"project": {"name": "p1"}}, headers=admin)
    assert again.status_code == 409
    assert "Duplicate entry found with name p1 at domain ID default" in again.json()["error"]["message"]
    path = f"/identity/v3/projects/{made.json()['project']['id']}"
    taken = await site.http.patch(path, json={"project": {"name": "demo"}}, headers=admin)
    assert taken.status_code == 409
    moved = await site.http.patch(path, json={"project": {"name": "p2"}}, headers=admin)
    assert moved.json()["project"]["name"] == "p2"
    assert (
        await site.http.post("/identity/v3/projects", json={"project": {"name": "p1"}}, headers=admin)
    ).status_code == 201
    listed = await site.http.get("/identity/v3/projects", params={"name": "p2"}, headers=admin)
    assert [project["name"] for project in listed.json()["projects"]] == ["p2"]


async def test_discovery_needs_no_token(site: Site) -> None:
    root = await site.http.get("/identity/")
    assert root.status_code == 300
    assert root.json()["versions"]["values"][0]["links"][0]["href"] == "http://api/identity/v3/"
    assert (await site.http.get("/identity/v3")).json()["version"]["status"] == "stable"
    assert (await site.http.get("/identity/v3/users")).status_code == 401
    assert (await site.http.get("/identity/v3/nothing")).json()["error"]["code"] == 404


@pytest.mark.parametrize(
    "body",
    [b"not json", b"[]", b"{}", b'{"auth": {}}', b'{"auth": {"identity": {"methods": "password"}}}',
     b'{"auth": {"identity": {"methods": ["password"], "password": {"user": {"password": "x"}}}}}'],
)  # fmt: skip
async def test_what_is_no_login_is_a_bad_request(site: Site, body: bytes) -> None:
    answer = await site.http.post("/identity/v3/auth/tokens", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["title"] == "Bad Request"


async def test_a_token_is_validated_for_its_owner_and_for_admins(site: Site) -> None:
    admin = (await site.as_admin())["X-Auth-Token"]
    demo = await site.token("demo", "demo", "demo")

    async def validate(asking: str, about: str) -> int:
        headers = {"X-Auth-Token": asking, "X-Subject-Token": about}
        return (await site.http.get("/identity/v3/auth/tokens", headers=headers)).status_code

    assert await validate(demo, demo) == 200
    assert await validate(admin, demo) == 200
    assert await validate(demo, admin) == 403
    assert await validate(admin, "rubbish") == 404
    assert await validate("rubbish", demo) == 401
