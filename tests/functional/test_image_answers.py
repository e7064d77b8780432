"""What images refuse, in Glance's words and forms; filters; who may do what."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sites import Site, open_site

from schemas.settings import ApiSettings, BusSettings, StoreSettings
from tests.functional.test_images import Client


@pytest.fixture
async def site(store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(store_settings, bus_settings, tmp_path) as site:
        yield site


@pytest.fixture
async def demo(site: Site) -> Client:
    return Client(site, await site.token("demo", "demo", "demo"))


@pytest.fixture
async def admin(site: Site) -> Client:
    return Client(site, await site.token("admin", "secret", "admin"))


async def test_what_does_not_fit_is_refused_in_glances_words(demo: Client) -> None:
    image = await demo.create(name="a")
    at = f"images/{image['id']}"
    schema = "Provided object does not match schema 'image': "
    cases: tuple[tuple[str, str, Any, int, str], ...] = (
        ("POST", "images", b"{nope", 400, "Malformed JSON in request body."),
        ("POST", "images", {"name": 1}, 400, schema + "1 is not of type 'null', 'string'"),
        ("POST", "images", {"name": "n" * 256}, 400, schema),
        ("POST", "images", {"min_ram": "x"}, 400, schema + "'x' is not of type 'integer'"),
        ("POST", "images", {"min_disk": -1}, 400, schema + "-1 is less than the minimum of 0"),
        ("POST", "images", {"disk_format": "nope"}, 400, schema + "'nope' is not one of"),
        ("POST", "images", {"color": 1}, 400, schema + "1 is not of type 'string'"),
        ("POST", "images", {"id": "x"}, 400, schema + "'x' does not match"),
        ("POST", "images", {"tags": ["t" * 256]}, 400, schema),
        ("POST", "images", {"status": "active"}, 403, "Attribute 'status' is read-only."),
        ("POST", "images", {"deleted": "x"}, 403, "Attribute 'deleted' is reserved."),
        ("POST", "images", {"os_glance_x": "x"}, 403, "Attribute 'os_glance_x' is reserved."),
        ("POST", "images", {"owner": "x"}, 403, "You are not permitted to create images owned by 'x'."),
        ("POST", "images", {"visibility": "public"}, 403, "You are not authorized to complete publicize_image action."),
        ("POST", "images", {"id": image["id"]}, 403, "Only administrators may choose the id of an image"),
        ("POST", "images", {f"p{n}": "x" for n in range(129)}, 413, "The limit has been exceeded on the number of "
         "allowed image properties. Attempted: 129, Maximum: 128"),
        ("GET", "images/none", None, 404, "No image found with ID none"),
        ("GET", "images?sort=name&sort_key=name", None, 400, "Old and new sorting syntax cannot be combined"),
        ("GET", "images?created_at=soon:2020-01-01", None, 400, "Unable to filter by unknown operator 'soon'."),
        ("GET", "images?created_at=gt:never", None, 400, "Invalid time value for 'created_at'"),
        ("GET", "images?protected=maybe", None, 400, "Invalid value 'maybe' for 'protected' filter."),
        ("GET", "images?protected=True", None, 400, "Invalid value 'True' for 'protected' filter."),
        ("GET", "images?protected=1", None, 400, "Invalid value '1' for 'protected' filter."),
        ("GET", "images?os_hidden=1", None, 400, "Invalid value '1' for 'os_hidden' filter."),
        ("GET", "images?size_min=x", None, 400, "Invalid value for option size_min: x"),
        ("GET", "images?limit=-1", None, 400, "limit param must be positive"),
        ("GET", "images?changes-since=2020", None, 400, 'The "changes-since" filter is no longer available on v2.'),
        ("POST", f"{at}/members", {"member": ""}, 400, "Expected to find a 'member' string"),
        ("GET", f"{at}/members/x", None, 404, f"x not found in the member list of the image {image['id']}."),
        ("DELETE", f"{at}/tags/none", None, 404, "The tag could not be found."),
        ("POST", f"{at}/actions/deactivate", None, 403, "Not allowed to deactivate image in status 'queued'"),
        ("POST", f"{at}/import", {}, 400, "Import request requires a 'method' field."),
        ("GET", "nothing", None, 404, "The resource could not be found."),
    )  # fmt: skip
    for method, path, body, code, message in cases:
        content = {"content": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}
        answer = await demo.do(method, path, **content)
        assert answer.status_code == code, (path, body, answer.text)
        assert answer.json()["message"].startswith(message), (path, body, answer.text)
        assert answer.json()["code"].startswith(str(code))


async def test_pointers_and_operations_that_are_none(demo: Client) -> None:
    image = await demo.create()
    cases: tuple[tuple[dict[str, Any], int, str], ...] = (
        ({"op": "move", "path": "/a"}, 400, "Invalid operation: `move`. It must be one of the following"),
        ({"path": "/a", "value": "x"}, 400, "Unable to find 'op' in JSON Schema change"),
        ({"op": "add", "value": "x"}, 400, "Unable to find 'path' in JSON Schema change"),
        ({"op": "add", "path": "/a"}, 400, 'Operation "add" requires a member named "value".'),
        ({"op": "add", "path": "a", "value": "x"}, 400, 'Pointer `a` does not start with "/".'),
        ({"op": "add", "path": "/a/", "value": "x"}, 400, 'Pointer `/a/` end with "/".'),
        ({"op": "add", "path": "/a~2", "value": "x"}, 400, 'Pointer `/a~2` contains "~" not part'),
        ({"op": "add", "path": "/tags/-", "value": "x"}, 400, "Invalid JSON pointer for this resource: '/tags/-'"),
        ({"op": "replace", "path": "/id", "value": "x"}, 403, "Attribute 'id' is read-only."),
        ({"op": "add", "path": "/deleted", "value": "x"}, 403, "Attribute 'deleted' is reserved."),
        ({"op": "add", "path": "/locations/-", "value": {}}, 403, "It's not allowed to update locations"),
        ({"op": "replace", "path": "/locations", "value": []}, 403, "It's not allowed to update locations"),
        ({"op": "remove", "path": "/min_ram"}, 403, "Property min_ram may not be removed."),
        ({"op": "remove", "path": "/nope"}, 409, "Property nope does not exist."),
        ({"op": "replace", "path": "/owner", "value": "x"}, 403, "You are not permitted to modify 'owner'"),
    )
    for operation, code, message in cases:
        answer = await demo.patch(image, operation)
        assert answer.status_code == code, (operation, answer.text)
        assert answer.json()["message"].startswith(message), (operation, answer.text)
    slashed = await demo.patch(image, {"op": "add", "path": "/a~1b~0c", "value": "x"})
    assert slashed.json()["a/b~c"] == "x"
    wrong = await demo.do("PATCH", f"images/{image['id']}", json=[])
    assert wrong.status_code == 415
    assert "application/openstack-images-v2.1-json-patch" in wrong.headers["accept-patch"]


async def test_names_of_any_script_and_255_characters(demo: Client) -> None:
    for name in ("n" * 255, "Ünïcødé 名前 🚀", ""):
        image = await demo.create(name=name, 名="前")
        assert ((await demo.show(image))["name"], (await demo.show(image))["名"]) == (name, "前")
        found = (await demo.do("GET", "images", params={"name": name})).json()["images"]
        assert [i["id"] for i in found] == [image["id"]]


async def test_filters(demo: Client) -> None:
    small, large = await demo.create(name="small", os_hidden=False), await demo.create(name="large, too")
    await demo.upload(small, bytes(10))
    await demo.upload(large, bytes(1000))
    moment = (await demo.show(small))["created_at"]

    async def names(**query: str) -> set[str]:
        answer = await demo.do("GET", "images", params=query)
        assert answer.status_code == 200, answer.text
        return {image["name"] for image in answer.json()["images"]}

    both = {"small", "large, too"}
    assert await names(size_min="100") == {"large, too"}
    assert await names(size_max="100") == {"small"}
    assert await names(created_at=f"gte:{moment}") == both
    assert await names(created_at=f"lt:{moment}") == set()
    assert await names(updated_at="gt:2001-01-01T00:00:00Z", created_at="lt:2999-01-01T00:00:00") == both
    assert await names(name='in:small,"large, too"') == both
    assert await names(id=f"in:{small['id']},nothing") == {"small"}
    assert await names(status="in:active,queued", disk_format="raw", container_format="eq:bare") == both
    assert await names(status="queued") == set()
    assert await names(owner=small["owner"], protected="false") == both
    assert await names(checksum=(await demo.show(small))["checksum"]) == {"small"}
    assert await names(min_ram="0", os_hidden="False", visibility="shared") == both
    assert await names(limit="0") == set()


async def test_errors_have_the_form_that_is_asked_for(demo: Client) -> None:
    path = "images/none"
    html = await demo.do("GET", path, headers={"Accept": "*/*"})
    assert "<title>404 Not Found</title>" in html.text
    assert html.headers["content-type"].startswith("text/html")
    plain = await demo.do("GET", path, headers={"Accept": "text/plain"})
    assert plain.text.startswith("404 Not Found\n\nNo image found with ID none")
    assert (await demo.http.get("/image/v2/images")).status_code == 401


async def test_what_others_may_do_with_an_image(demo: Client, admin: Client, site: Site) -> None:
    image = await admin.create(name="public", visibility="public")
    await admin.upload(image, b"bytes")
    at = f"images/{image['id']}"
    for method, path, rule in (
        ("DELETE", at, "delete_image"),
        ("PUT", f"{at}/tags/x", "modify_image"),
        ("PUT", f"{at}/stage", "modify_image"),
        ("PUT", f"{at}/file", "upload_image"),
        ("POST", f"{at}/actions/deactivate", "deactivate"),
    ):
        headers = {"Content-Type": "application/octet-stream"}
        answer = await demo.do(method, path, headers=headers)
        assert (answer.status_code, f"complete {rule} action" in answer.text) == (403, True), answer.text
    assert (await demo.do("GET", f"{at}/file")).content == b"bytes"


async def test_a_policy_file_overrides_rules(
    store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path
) -> None:
    file = tmp_path / "images.yaml"
    file.write_text('"publicize_image": "role:member"\n"add_image": "rule:context_is_admin"\n')
    api = ApiSettings(public_url="http://api", image_policy_file=str(file))
    async with open_site(store_settings, bus_settings, tmp_path, api) as site:
        demo = Client(site, await site.token("demo", "demo", "demo"))
        admin = Client(site, await site.token("admin", "secret", "admin"))
        assert (await demo.do("POST", "images", json={})).status_code == 403
        project = (await site.tokens.verify(demo.headers["X-Auth-Token"])).project
        image = await admin.create(owner=project)
        public = await demo.patch(image, {"op": "replace", "path": "/visibility", "value": "public"})
        assert public.json()["visibility"] == "public"


async def test_images_belong_to_projects(site: Site) -> None:
    """As in Glance, a token for the system or for a domain is not enough, whatever its roles."""
    who = {"name": "admin", "domain": {"id": "default"}, "password": "secret"}
    for scope in ({"system": {"all": True}}, {"domain": {"id": "default"}}, "unscoped"):
        identity = {"methods": ["password"], "password": {"user": who}}
        login = await site.http.post("/identity/v3/auth/tokens", json={"auth": {"identity": identity, "scope": scope}})
        answer = await Client(site, login.headers["x-subject-token"]).do("GET", "images")
        assert (answer.status_code, "scoped to one" in answer.text) == (403, True)


PERSONAS = ("admin", "member", "reader", "stranger")
CODES: dict[tuple[str, str], tuple[int, int, int, int]] = {
    ("GET", "images"): (200, 200, 200, 200),
    ("GET", "images/{public}"): (200, 200, 200, 200),
    ("GET", "images/{public}/file"): (200, 200, 403, 200),
    ("GET", "images/{secret}"): (200, 404, 404, 404),
    ("GET", "images/{mine}"): (200, 200, 200, 404),
    ("GET", "images/{mine}/file"): (200, 200, 403, 404),
    ("GET", "images/{mine}/members"): (200, 200, 200, 404),
    ("POST", "images/{mine}/members"): (200, 200, 403, 404),
    ("POST", "images/{mine}/actions/reactivate"): (204, 204, 403, 404),
    ("PUT", "images/{mine}/tags/t"): (204, 204, 403, 404),
    ("PUT", "images/{public}/tags/t"): (204, 403, 403, 403),
    ("POST", "images"): (201, 201, 403, 201),
    ("GET", "tasks"): (200, 403, 403, 403),
    ("DELETE", "images/{public}/tags/t"): (204, 403, 403, 403),
    ("DELETE", "stores/objects/{mine}"): (403, 403, 403, 404),
    ("DELETE", "images/{secret}"): (204, 404, 404, 404),
}
"""of each persona; `mine` is the member's and the reader's project's"""


async def test_personas(site: Site, admin: Client, demo: Client) -> None:
    people = {"admin": admin, "member": demo}
    identity = site.tokens.directory
    roles = {stored.value.name: stored.value.id for stored in identity.roles.items.values()}
    projects = {stored.value.name: stored.value.id for stored in identity.projects.items.values()}
    for name, project, role in (("reader", "demo", "reader"), ("stranger", "service", "member")):
        body = {"user": {"name": name, "password": "pw"}}
        made = await site.http.post("/identity/v3/users", json=body, headers=admin.headers)
        at = f"/identity/v3/projects/{projects[project]}/users/{made.json()['user']['id']}/roles/{roles[role]}"
        assert (await site.http.put(at, headers=admin.headers)).status_code == 204
        people[name] = Client(site, await site.token(name, "pw", project))
    images = {
        "mine": await demo.create(),
        "public": await admin.create(visibility="public"),
        "secret": await admin.create(visibility="private"),
    }
    await demo.upload(images["mine"], b"bytes")
    await admin.upload(images["public"], b"bytes")
    ids = {name: image["id"] for name, image in images.items()}
    for (method, path), codes in CODES.items():
        for name, code in reversed(list(zip(PERSONAS, codes, strict=True))):  # who may delete comes last
            body = {"member": f"project-of-{name}"} if path.endswith("members") else {}
            more = {"json": body} if method == "POST" else {}
            answer = await people[name].do(method, path.format(**ids), **more)
            assert answer.status_code == code, (name, method, path, answer.text)
