"""What Nova has and this release does not: empty lists where clients ask of every server, else words that say so."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from compute_client import Client

from control.compute.handlers.extensions import NAMES
from control.compute.tables import absent
from schemas.server import Instance

Api = Callable[..., Client]
Place = Callable[..., Awaitable[Instance]]

UNKNOWN = "00000000-0000-4000-8000-000000000000"

EMPTY = [
    ("os-security-groups", "member", "2.1", "security_groups"),
    ("os-volume_attachments", "member", "2.1", "volumeAttachments"),
    ("os-volume_attachments?limit=5&offset=1", "member", "2.75", "volumeAttachments"),
    ("os-interface", "member", "2.1", "interfaceAttachments"),
    ("migrations", "admin", "2.23", "migrations"),
    ("shares", "member", "2.97", "shares"),
]


@pytest.mark.parametrize(("path", "who", "version", "key"), EMPTY, ids=[e[0] for e in EMPTY])
async def test_what_a_server_has_of_other_services_is_an_empty_list(
    api: Api, place: Place, path: str, who: str, version: str, key: str
) -> None:
    """Ansible's module for servers failed on every existing server for want of the first, Horizon's page of one for
    want of the second: they were 404."""
    server = await place()
    client = api(who, version)
    assert await client.get(f"/servers/{server.uuid}/{path}") == {key: []}
    assert await client.refused(404, "GET", f"/servers/{UNKNOWN}/{path}") == f"Instance {UNKNOWN} could not be found."
    assert (await api("stranger", version).send("GET", f"/servers/{server.uuid}/{path}")).status_code in (403, 404)


async def test_what_is_in_no_such_list_is_not_found(api: Api, place: Place) -> None:
    path = f"/servers/{(await place()).uuid}"
    text = await api().refused(404, "GET", f"{path}/os-volume_attachments/{UNKNOWN}")
    assert text == f"Instance {path[9:]} is not attached to volume {UNKNOWN}"
    await api().refused(404, "GET", f"{path}/os-interface/{UNKNOWN}")
    await api(version="2.23").refused(403, "GET", f"{path}/migrations/1")
    admin = api("admin", "2.100")
    await admin.refused(404, "GET", f"{path}/migrations/1")
    message = await admin.refused(409, "DELETE", f"{path}/migrations/1")
    assert message == f"Cannot 'abort live migration' instance {path[9:]} while it is in task_state None"
    await admin.refused(409, "POST", f"{path}/migrations/1/action", {"force_complete": None})
    await admin.refused(400, "POST", f"{path}/migrations/1/action", {"force_complete": {}})
    await api("admin", "2.22").refused(404, "GET", f"{path}/migrations")


async def test_the_list_of_migrations_checks_what_it_is_asked(api: Api) -> None:
    for version in ("2.1", "2.59", "2.100"):
        assert await api("admin", version).get("/os-migrations?migration_type=resize&status=done") == {"migrations": []}
    newest = api("admin", "2.100")
    query = "limit=5&changes-since=2026-01-01T00:00:00Z&changes-before=2026-02-01T00:00:00Z&user_id=u&project_id=p"
    assert await newest.get(f"/os-migrations?{query}") == {"migrations": []}
    assert await newest.refused(400, "GET", "/os-migrations?marker=x") == "Marker x could not be found."
    assert await api("admin", "2.58").get("/os-migrations?marker=x&limit=y") == {"migrations": []}
    for bad in ("limit=x", "limit=-1", "changes-since=now", "colour=red", "limit=1&limit=2"):
        await newest.refused(400, "GET", f"/os-migrations?{bad}")
    order = "changes-since=2026-02-01T00:00:00Z&changes-before=2026-01-01T00:00:00Z"
    assert "changes-since must be less" in await newest.refused(400, "GET", f"/os-migrations?{order}")
    await api().refused(403, "GET", "/os-migrations")


async def test_consoles_are_not_available_in_novas_words(api: Api, place: Place) -> None:
    server = await place()
    member, path = api(version="2.6"), f"/servers/{server.uuid}/remote-consoles"
    for protocol, kind in (("vnc", "novnc"), ("spice", "spice-html5"), ("serial", "serial"), ("rdp", "rdp-html5")):
        body = {"remote_console": {"protocol": protocol, "type": kind}}
        assert await member.refused(400, "POST", path, body) == f"Unavailable console type {kind}."
    mks = {"remote_console": {"protocol": "mks", "type": "webmks"}}
    assert (await member.refused(400, "POST", path, mks)).startswith("Invalid input for field/attribute protocol")
    assert await api(version="2.8").refused(400, "POST", path, mks) == "Unavailable console type webmks."
    for action, kind in (("VNC", "novnc"), ("SPICE", "spice-html5"), ("Serial", "serial")):
        body = {f"os-get{action}Console": {"type": kind}}
        message = await api(version="2.5").refused(400, "POST", f"/servers/{server.uuid}/action", body)
        assert message == f"Unavailable console type {kind}."
        await member.refused(404, "POST", f"/servers/{server.uuid}/action", body)
    nowhere = await place(host=None)
    body = {"remote_console": {"protocol": "vnc", "type": "novnc"}}
    message = await member.refused(409, "POST", f"/servers/{nowhere.uuid}/remote-consoles", body)
    assert message == f"Instance {nowhere.uuid} is not ready"
    await api("reader", "2.6").refused(403, "POST", path, body)


@pytest.mark.parametrize("operation", [o for o in absent.OPERATIONS if o.action], ids=lambda o: o.action)
async def test_an_action_that_this_release_lacks_is_not_implemented(api: Api, place: Place, operation: Any) -> None:
    """It was refused as one that Nova does not have."""
    server, client = await place(), api("admin", f"2.{operation.since}")
    message = await client.refused(501, "POST", f"/servers/{server.uuid}/action", {operation.action: None})
    assert message == f"This release of Kilonova does not implement the action '{operation.action}' of servers."
    await client.refused(404, "POST", f"/servers/{UNKNOWN}/action", {operation.action: None})
    await api("reader").refused(
        403 if operation.since == 1 else 404, "POST", f"/servers/{server.uuid}/action", {operation.action: None}
    )


async def test_an_action_that_nova_does_not_know_stays_unknown(api: Api, place: Place) -> None:
    server = await place()
    message = await api().refused(400, "POST", f"/servers/{server.uuid}/action", {"dance": None})
    assert message == "There is no such action: dance"
    await api(version="2.44").refused(404, "POST", f"/servers/{server.uuid}/action", {"addFixedIp": None})


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "os-interface"), ("DELETE", "os-interface/x"), ("POST", "os-volume_attachments")]
    + [(method, "os-volume_attachments/x") for method in ("PUT", "DELETE")]
    + [("POST", "shares"), ("DELETE", "shares/x")],
)
async def test_what_would_attach_is_not_implemented(api: Api, place: Place, method: str, path: str) -> None:
    server = await place()
    message = await api(version="2.97").refused(501, method, f"/servers/{server.uuid}/{path}", {"any": {}})
    assert message.startswith("This release of Kilonova does not implement ")


async def test_the_extensions_are_novas_whole_list(api: Api, http: httpx.AsyncClient) -> None:
    found = (await api().get("/extensions"))["extensions"]
    assert {e["alias"]: e["name"] for e in found} == NAMES
    assert len(NAMES) == 99
    assert (NAMES["os-consoles"], NAMES["os-hosts"], NAMES["OS-DCF"]) == ("Consoles", "Hosts", "DiskConfig")
    assert (await api().get("/extensions/os-hosts"))["extension"]["name"] == "Hosts"
    assert await api().refused(404, "GET", "/extensions/OS-EXT-VIF-NET") == "The resource could not be found."
    legacy = await http.get("/v2/extensions/OS-EXT-VIF-NET", headers={"X-Auth-Token": "member"})
    assert legacy.json()["extension"]["name"] == "ExtendedVIFNet"


async def test_a_project_in_the_path_has_the_versions_document(http: httpx.AsyncClient) -> None:
    """Clients whose endpoint names their project read it there; it was 404."""
    token = {"X-Auth-Token": "member"}
    plain = (await http.get("/v2.1/")).json()
    for path in ("/v2.1/project-demo/", "/v2.1/project-demo", "/v2.1/project-demo/versions/v2.1"):
        answer = await http.get(path, headers=token)
        assert (answer.status_code, answer.json()) == (200, plain)
    assert (await http.get("/v2/project-demo/", headers=token)).json()["version"]["id"] == "v2.0"
    assert (await http.get("/v2.1/project-demo/")).status_code == 401
    assert (await http.get(f"/v2.1/{'0' * 32}/", headers=token)).status_code == 400
    assert (await http.get("/v2.1/project-other/", headers=token)).status_code == 404
    assert (await http.get("/v2.1/project-demo/versions/v9", headers=token)).status_code == 404
    assert (await http.post("/v2.1/project-demo/", headers=token)).status_code == 404
