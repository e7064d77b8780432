"""What identity refuses, in Keystone's words; who may do what; what an application credential is worth."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from attrs import evolve
from sites import Site, open_site
from substrate import EtcdServer, eventually

from control.identity.claims import fernet, seal
from control.identity.tokens import EXPIRED_WINDOW, Tokens
from kv.keys import Global
from schemas.errors import Unauthorized
from schemas.settings import ApiSettings, BusSettings, StoreSettings

REFUSED = "The request you have made requires authentication."
ASSUMED = "The server could not comply with the request since it is either malformed or otherwise incorrect."


@pytest.fixture
async def site(store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(store_settings, bus_settings, tmp_path) as site:
        yield site


class Person:
    """Asks the identity API with one token."""

    def __init__(self, site: Site, token: str) -> None:
        self.site, self.token = site, token

    async def do(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        content = {"content": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}
        headers = {"X-Auth-Token": self.token} | {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.site.http.request(method, f"/identity/v3/{path}", headers=headers, **content)

    async def ok(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self.do(method, path, body)
        assert answer.is_success, f"{method} {path}: {answer.text}"
        return answer.json() if answer.content else None

    async def id_of(self, noun: str, name: str) -> str:
        return (await self.ok("GET", f"{noun}s?name={name}"))[f"{noun}s"][0]["id"]


@pytest.fixture
async def admin(site: Site) -> Person:
    return Person(site, await site.token("admin", "secret", "admin"))


@pytest.fixture
async def demo(site: Site) -> Person:
    return Person(site, await site.token("demo", "demo", "demo"))


async def scoped(site: Site, user: str, password: str, scope: Any) -> httpx.Response:
    who = {"name": user, "domain": {"id": "default"}, "password": password}
    auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": who}}, "scope": scope}
    return await site.http.post("/identity/v3/auth/tokens", json={"auth": auth})


async def test_what_does_not_fit_is_refused_in_keystones_words(admin: Person) -> None:
    user = {"user": {"name": "x"}}
    cases: tuple[tuple[str, str, Any, int, str], ...] = (
        ("POST", "users", b"{nope", 400, "Expecting to find valid JSON in request body. " + ASSUMED),
        ("POST", "users", b"[1]", 400, "Expecting to find valid JSON object in request body. " + ASSUMED),
        ("POST", "users", {}, 400, "'name' is a required property\n\nFailed validating 'required' in schema"),
        ("POST", "users", {"user": 1}, 400, "1 is not of type 'object'"),
        ("POST", "users", {"user": {"name": ""}}, 400, "Invalid input for field 'name': ''"),
        ("POST", "users", {"user": {"name": " "}}, 400, "Invalid input for field 'name': ' ' does not match"),
        ("POST", "users", {"user": {"name": 1}}, 400, "Invalid input for field 'name': 1 is not of type 'string'"),
        ("POST", "users", {"user": {"name": "n" * 256}}, 400, "Invalid input for field 'name': "),
        ("POST", "users", {"user": {"name": "x", "enabled": "yes"}}, 400, "Invalid input for field 'enabled': 'yes'"),
        ("POST", "users", {"user": {"name": "x", "domain_id": "no"}}, 404, "Could not find domain: no."),
        ("POST", "users", {"user": {"name": "demo"}}, 409, "Conflict occurred attempting to store user - Duplicate "
         "entry found with name demo at domain ID default."),
        ("POST", "projects", {"project": {"name": "p" * 65}}, 400, "Invalid input for field 'name': "),
        ("POST", "projects", {"project": {"name": "x", "tags": ["a,b"]}}, 400, "Invalid input for field 'tags/0': "),
        ("POST", "projects", {"project": {"name": "x", "parent_id": "no"}}, 404, "Could not find project: no."),
        ("POST", "projects", {"project": {"name": "x", "is_domain": True}}, 403, "This site has one domain"),
        ("POST", "roles", {"role": {"name": "r" * 256}}, 400, "Invalid input for field 'name': "),
        ("POST", "roles", {"role": {"name": "member"}}, 409, "Conflict occurred attempting to store role"),
        ("PATCH", "users/nobody", user, 404, "Could not find user: nobody."),
        ("PATCH", "projects/nothing", {"project": {"name": "x"}}, 404, "Could not find project: nothing."),
        ("GET", "roles/none", None, 404, "Could not find role: none."),
        ("DELETE", "roles/none", None, 404, "Could not find role: none."),
        ("GET", "domains/other", None, 404, "Could not find domain: other."),
        ("GET", "services/none", None, 404, "Could not find service: none."),
        ("GET", "regions/none", None, 404, "Could not find region: none."),
        ("POST", "services", {"service": {"type": "x"}}, 403, "The catalog is made of this site's settings"),
        ("POST", "domains", {"domain": {"name": "x"}}, 403, "This site has one domain"),
        ("GET", "nothing", None, 404, "The requested URL was not found on the server."),
        ("PUT", "users", None, 405, "The method is not allowed for the requested URL."),
        ("GET", "users?limit=x", None, 400, "Invalid input for field 'limit'"),
        ("GET", "users?marker=x", None, 400, "Could not find marker: x."),
    )  # fmt: skip
    for method, path, body, code, message in cases:
        answer = await admin.do(method, path, body)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (code, code), (path, body, error)
        assert error["message"].startswith(message), (path, body, error)
        assert error["title"] == answer.reason_phrase or code == 404
    wrong = await admin.do("POST", "users", b"a=b", content_type="application/x-www-form-urlencoded")
    assert wrong.json()["error"]["message"].startswith("Expecting to find application/json in Content-Type header.")


async def test_names_of_255_characters_and_of_any_script(admin: Person) -> None:
    for name in ("n" * 255, "Ünïcødé 名前 🚀", "a/b%2Fc d", "a" * 63 + "é"):
        user = (await admin.ok("POST", "users", {"user": {"name": name, "password": "pässwörd 🔑"}}))["user"]
        assert user["name"] == name
        assert (await admin.ok("GET", f"users/{user['id']}"))["user"]["name"] == name
        assert (await admin.site.login(name, "pässwörd 🔑")).status_code == 201
        again = await admin.do("POST", "users", {"user": {"name": name}})
        assert again.status_code == 409
    project = await admin.ok("POST", "projects", {"project": {"name": "名" * 64, "color": "red"}})
    assert (project["project"]["name"], project["project"]["color"]) == ("名" * 64, "red")


async def test_what_is_in_a_path_breaks_no_header(admin: Person) -> None:
    """A tag of a NUL cut the connection: it went into the Location as it was."""
    project = await admin.id_of("project", "demo")
    for quoted, tag in (("%00", "\0"), ("%1b", "\x1b"), ("%E5%90%8D%20x", "名 x")):
        made = await admin.do("PUT", f"projects/{project}/tags/{quoted}")
        assert made.status_code == 201
        assert all(32 <= ord(character) < 127 for character in made.headers["location"])
        assert tag in (await admin.ok("GET", f"projects/{project}"))["project"]["tags"]
        assert (await admin.do("DELETE", f"projects/{project}/tags/{quoted}")).status_code == 204


async def test_expired_forged_and_revoked_tokens(admin: Person, demo: Person) -> None:
    site = admin.site
    key = fernet(site.tokens.keys.signing(datetime.now(UTC)).secret)
    claims = (await site.tokens.inspect(demo.token)).claims
    expired = seal(evolve(claims, expires=datetime.now(UTC) - timedelta(seconds=1)), key)
    long_ago = seal(evolve(claims, expires=datetime.now(UTC) - EXPIRED_WINDOW - timedelta(seconds=1)), key)
    forged = demo.token[:-4] + "AAAA"
    asked = (await admin.do("GET", "auth/tokens", X_Subject_Token=demo.token)).json()["token"]
    assert asked["user"]["name"] == "demo"
    for token, allowed in ((expired, 200), (long_ago, 404), (forged, 404), ("", 404)):
        answer = await Person(site, token).do("GET", "users")
        assert (answer.status_code, answer.json()["error"]["message"]) == (401, REFUSED)
        for method in ("GET", "HEAD", "DELETE"):
            assert (await admin.do(method, "auth/tokens", X_Subject_Token=token)).status_code == 404
        late = await admin.do("GET", "auth/tokens?allow_expired=1", X_Subject_Token=token)
        assert late.status_code == allowed
    assert (await admin.do("GET", "auth/tokens")).json()["error"]["message"] == "No token in the request"
    head = await admin.do("HEAD", "auth/tokens", X_Subject_Token=demo.token)
    assert (head.status_code, head.content, head.headers["x-subject-token"]) == (200, b"", demo.token)
    assert (await demo.do("DELETE", "auth/tokens", X_Subject_Token=admin.token)).status_code == 403
    assert (await admin.do("DELETE", "auth/tokens", X_Subject_Token=demo.token)).status_code == 204
    assert (await demo.do("GET", "auth/projects")).status_code == 401
    gone = await admin.do("GET", "auth/tokens", X_Subject_Token=demo.token)
    assert (gone.status_code, gone.json()["error"]["message"]) == (404, "Failed to validate token")
    late = await admin.do("GET", "auth/tokens?allow_expired=1", X_Subject_Token=expired)
    assert late.status_code == 404, "revoked before it expired"
    rescope = {"auth": {"identity": {"methods": ["token"], "token": {"id": demo.token}}}}
    assert (await site.http.post("/identity/v3/auth/tokens", json=rescope)).status_code == 404


async def test_a_deleted_users_token_ends(admin: Person) -> None:
    made = (await admin.ok("POST", "users", {"user": {"name": "gone", "password": "pw"}}))["user"]["id"]
    reader, project = await admin.id_of("role", "reader"), await admin.id_of("project", "demo")
    await admin.ok("PUT", f"projects/{project}/users/{made}/roles/{reader}")
    theirs = Person(admin.site, await admin.site.token("gone", "pw", "demo"))
    assert (await theirs.do("GET", "auth/projects")).status_code == 200
    await admin.ok("DELETE", f"users/{made}")
    assert (await theirs.do("GET", "auth/projects")).status_code == 401
    assert (await admin.site.login("gone", "pw", "demo")).status_code == 401


async def test_scopes(admin: Person) -> None:
    site = admin.site
    system = await scoped(site, "admin", "secret", {"system": {"all": True}})
    token = system.json()["token"]
    assert (token["system"], "project" in token, "catalog" in token) == ({"all": True}, False, True)
    domain = (await scoped(site, "admin", "secret", {"domain": {"name": "Default"}})).json()["token"]
    assert (domain["domain"]["id"], "system" in domain) == ("default", False)
    unscoped = await scoped(site, "admin", "secret", "unscoped")
    assert not {"project", "roles", "catalog", "domain", "system"} & set(unscoped.json()["token"])
    for scope in ({"system": {"all": True}}, {"domain": {"id": "default"}}):
        assert (await scoped(site, "demo", "demo", scope)).status_code == 401, "no role there"
    nobody = Person(site, unscoped.headers["x-subject-token"])
    assert (await nobody.do("GET", "users")).status_code == 403
    assert (await nobody.do("GET", "auth/catalog")).status_code == 403
    assert (await nobody.ok("GET", "auth/system"))["system"] == [{"all": True}]
    assert [d["id"] for d in (await nobody.ok("GET", "auth/domains"))["domains"]] == ["default"]
    everything = Person(site, system.headers["x-subject-token"])
    assert len((await everything.ok("GET", "users"))["users"]) == 2


async def test_lists_are_filtered_and_paged(admin: Person) -> None:
    for number in range(4):
        await admin.ok("POST", "projects", {"project": {"name": f"Team-{number}", "enabled": number != 2}})

    async def names(query: str) -> list[str]:
        return [p["name"] for p in (await admin.ok("GET", f"projects?{query}"))["projects"]]

    assert await names("name__contains=eam-") == [f"Team-{n}" for n in range(4)]
    assert await names("name__istartswith=team&enabled=False") == ["Team-2"]
    assert await names("name__endswith=-3") == ["Team-3"]
    assert await names("name__icontains=TEAM-1&domain_id=default") == ["Team-1"]
    assert await names("domain_id=other") == []
    page = await admin.ok("GET", "projects?name__startswith=Team&limit=3")
    assert [p["name"] for p in page["projects"]] == ["Team-0", "Team-1", "Team-2"]
    rest = await admin.ok("GET", page["links"]["next"].partition("/v3/")[2])
    assert ([p["name"] for p in rest["projects"]], rest["links"]["next"]) == (["Team-3"], None)


async def log_in_with(site: Site, app: dict[str, Any], **more: Any) -> httpx.Response:
    credential = {"id": app["id"], "secret": app["secret"]}
    auth = {"identity": {"methods": ["application_credential"], "application_credential": credential}, **more}
    return await site.http.post("/identity/v3/auth/tokens", json={"auth": auth})


async def make_app(person: Person, **given: Any) -> dict[str, Any]:
    me = (await person.site.tokens.inspect(person.token)).user.id
    body = {"application_credential": {"name": "app", **given}}
    return (await person.ok("POST", f"users/{me}/application_credentials", body))["application_credential"]


async def test_an_application_credential_is_worth_its_roles_in_its_project(demo: Person) -> None:
    site = demo.site
    app = await make_app(demo, roles=[{"name": "reader"}])
    answer = await log_in_with(site, app)
    token = answer.json()["token"]
    assert token["methods"] == ["application_credential"]
    assert [role["name"] for role in token["roles"]] == ["reader"]
    assert token["application_credential"] == {"id": app["id"], "name": "app", "restricted": True}
    scope = {"project": {"id": app["project_id"]}}
    refused = await log_in_with(site, app, scope=scope)
    assert refused.json()["error"]["message"].endswith("Application credentials cannot request a scope.")
    assert (await log_in_with(site, app | {"secret": "wrong"})).status_code == 401
    theirs = Person(site, answer.headers["x-subject-token"])
    path = f"users/{token['user']['id']}/application_credentials"
    for method, at in (("POST", path), ("DELETE", f"{path}/{app['id']}")):
        more = await theirs.do(method, at, {"application_credential": {"name": "more"}} if method == "POST" else None)
        assert more.status_code == 403
        assert "not allowed for managing additional application credentials" in more.json()["error"]["message"]
    identity = {"methods": ["token"], "token": {"id": theirs.token}}
    again = await site.http.post("/identity/v3/auth/tokens", json={"auth": {"identity": identity, "scope": scope}})
    assert [role["name"] for role in again.json()["token"]["roles"]] == ["reader"], "no more by another token"
    other = {"project": {"name": "admin", "domain": {"id": "default"}}}
    away = await site.http.post("/identity/v3/auth/tokens", json={"auth": {"identity": identity, "scope": other}})
    assert away.status_code == 401
    assert (await demo.do("DELETE", f"{path}/{app['id']}")).status_code == 204
    for ended in (theirs.token, again.headers["x-subject-token"]):
        with pytest.raises(Unauthorized):
            await site.tokens.verify(ended)
    missing = await demo.do("GET", f"{path}/{app['id']}")
    assert missing.json()["error"]["message"] == f"Could not find Application Credential: {app['id']}."


async def test_an_application_credential_ends_with_its_time(demo: Person) -> None:
    for seconds in (1, 5, 25):  # on a busy machine its time may be over before anybody has logged in
        soon = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
        app = await make_app(demo, name=f"for-{seconds}", expires_at=soon)
        answer = await log_in_with(demo.site, app)
        if answer.status_code == 201:
            break
    assert answer.status_code == 201
    ends = datetime.fromisoformat(answer.json()["token"]["expires_at"])
    assert ends == datetime.fromisoformat(soon), "its token does not outlive it"

    async def ended() -> bool:
        return (await log_in_with(demo.site, app)).status_code == 401

    await eventually(ended)
    with pytest.raises(Unauthorized):
        await demo.site.tokens.verify(answer.headers["x-subject-token"])
    for bad, says in (("yesterday", "Timestamp not in expected format."), ("2001-01-01T00:00:00", "The 'expires_at'")):
        me = (await demo.site.tokens.inspect(demo.token)).user.id
        body = {"application_credential": {"name": "late", "expires_at": bad}}
        refused = await demo.do("POST", f"users/{me}/application_credentials", body)
        assert (refused.status_code, refused.json()["error"]["message"].startswith(says)) == (400, True)


async def test_an_application_credential_goes_with_what_it_stands_on(admin: Person, demo: Person) -> None:
    site, store = admin.site, admin.site.top.store
    standing = await site.tokens.inspect(demo.token)
    app = await make_app(demo, unrestricted=True)
    others = await admin.do("GET", f"users/{standing.user.id}/application_credentials/{app['id']}")
    assert "secret" not in others.json()["application_credential"]
    mine = (await site.tokens.inspect(admin.token)).user.id
    crossed = await demo.do("GET", f"users/{mine}/application_credentials")
    assert crossed.status_code == 403
    elsewhere = await demo.do(
        "POST", f"users/{mine}/application_credentials", {"application_credential": {"name": "x"}}
    )
    assert elsewhere.status_code == 403
    member = await admin.id_of("role", "member")
    assert standing.project
    await admin.ok("DELETE", f"projects/{standing.project.id}/users/{standing.user.id}/roles/{member}")
    assert (await log_in_with(site, app)).status_code == 401
    assert await store.range(Global.APP_CREDENTIALS.under()) == []
    assert await store.range(Global.APP_CREDENTIAL_NAMES.under()) == []


PERSONAS = ("admin", "system reader", "domain manager", "domain reader", "member")
ALLOWED: dict[tuple[str, str], set[str]] = {
    ("GET", "users"): {"admin", "system reader", "domain manager", "domain reader"},
    ("GET", "projects"): {"admin", "system reader", "domain manager", "domain reader"},
    ("GET", "roles"): {"admin", "system reader", "domain manager"},
    ("GET", "role_assignments"): {"admin", "system reader", "domain manager", "domain reader"},
    ("GET", "services"): {"admin", "system reader"},
    ("GET", "role_inferences"): {"admin", "system reader"},
    ("GET", "domains/default"): set(PERSONAS),
    ("GET", "regions"): set(PERSONAS),
    ("GET", "users/{me}"): set(PERSONAS),
    ("GET", "users/{other}"): {"admin", "system reader", "domain manager", "domain reader"},
    ("POST", "users"): {"admin", "domain manager"},
    ("POST", "projects"): {"admin", "domain manager"},
    ("POST", "roles"): {"admin"},
    ("PUT", "projects/{project}/users/{other}/roles/{member}"): {"admin", "domain manager"},
    ("PUT", "projects/{project}/users/{other}/roles/{admin}"): {"admin"},
    ("PUT", "system/users/{other}/roles/{member}"): {"admin"},
}


async def test_personas(admin: Person) -> None:
    site = admin.site
    roles = {name: await admin.id_of("role", name) for name in ("reader", "manager", "member", "admin")}
    project = await admin.id_of("project", "demo")
    places = {
        "system reader": ("system", "reader", {"system": {"all": True}}),
        "domain manager": ("domains/default", "manager", {"domain": {"id": "default"}}),
        "domain reader": ("domains/default", "reader", {"domain": {"id": "default"}}),
        "member": (f"projects/{project}", "member", {"project": {"id": project}}),
    }
    people = {"admin": admin}
    for name, (place, role, scope) in places.items():
        user = (await admin.ok("POST", "users", {"user": {"name": name, "password": "pw"}}))["user"]["id"]
        await admin.ok("PUT", f"{place}/users/{user}/roles/{roles[role]}")
        people[name] = Person(site, (await scoped(site, name, "pw", scope)).headers["x-subject-token"])
    words = {"other": await site.user_id("demo"), "project": project, **roles}
    for (method, path), allowed in ALLOWED.items():
        for number, name in enumerate(PERSONAS):
            me = (await site.tokens.inspect(people[name].token)).user.id
            noun = path.rstrip("s")
            body = {noun: {"name": f"made-by-{number}"}} if method == "POST" else None
            answer = await people[name].do(method, path.format(me=me, **words), body)
            assert answer.status_code == 403 or answer.is_success, (name, method, path, answer.text)
            assert answer.is_success == (name in allowed), (name, method, path, answer.text)


async def test_a_policy_file_overrides_rules(
    store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path
) -> None:
    file = tmp_path / "identity.yaml"
    file.write_text('"identity:list_projects": "role:reader"\n"identity:get_region": "!"\n')
    api = ApiSettings(public_url="http://api", identity_policy_file=str(file))
    async with open_site(store_settings, bus_settings, tmp_path, api) as site:
        demo = Person(site, await site.token("demo", "demo", "demo"))
        assert (await demo.do("GET", "projects")).status_code == 200
        assert (await demo.do("GET", "regions/RegionOne")).status_code == 403
        assert (await demo.do("GET", "users")).status_code == 403


async def test_no_token_is_looked_up_in_etcd(
    fragile_etcd: EtcdServer, bus_settings: BusSettings, tmp_path: Path
) -> None:
    """Not when it is known, and not when it is new: all that a token stands on is watched."""
    store = StoreSettings(endpoints=(fragile_etcd.endpoint,), prefix=f"test-{uuid4().hex}/")
    async with open_site(store, bus_settings, tmp_path) as site:
        demo = Person(site, await site.token("demo", "demo", "demo"))
        app = await log_in_with(site, await make_app(demo))
        system = await scoped(site, "admin", "secret", {"system": {"all": True}})
        tokens = [demo.token, *(answer.headers["x-subject-token"] for answer in (app, system))]
        fragile_etcd.pause()
        for token in tokens:
            fresh = Tokens(site.tokens.keys, site.tokens.directory, timedelta(hours=1))
            async with asyncio.timeout(30):
                assert await fresh.verify(token) == await site.tokens.verify(token)
        fragile_etcd.resume()
