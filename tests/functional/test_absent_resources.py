"""Clients that look for what this site has none of find empty lists, and schemas where their addresses are named."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sites import Site, open_site

from schemas.settings import BusSettings, StoreSettings


@pytest.fixture
async def site(store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(store_settings, bus_settings, tmp_path) as site:
        yield site


async def test_lists_of_identity_are_empty(site: Site) -> None:
    """They were 404, which clients take for a fault of the site."""
    admin = await site.as_admin()
    demo = {"X-Auth-Token": await site.token("demo", "demo", "demo")}
    for path, noun, for_all in (
        ("credentials", "credentials", True),
        ("policies", "policies", False),
        ("OS-FEDERATION/identity_providers", "identity_providers", False),
        ("OS-FEDERATION/mappings", "mappings", False),
        ("OS-FEDERATION/service_providers", "service_providers", False),
        ("OS-EP-FILTER/endpoint_groups", "endpoint_groups", False),
    ):
        found = await site.http.get(f"/identity/v3/{path}", headers=admin)
        assert found.status_code == 200, path
        assert found.json()[noun] == []
        assert (await site.http.get(f"/identity/v3/{path}/x", headers=admin)).status_code == 404
        assert (await site.http.get(f"/identity/v3/{path}", headers=demo)).status_code == (200 if for_all else 403)
        assert (await site.http.get(f"/identity/v3/{path}/x", headers=demo)).status_code == 403
    project = (await site.tokens.verify(demo["X-Auth-Token"])).project
    of_project = f"/identity/v3/OS-EP-FILTER/projects/{project}/endpoints"
    assert (await site.http.get(of_project, headers=admin)).json()["endpoints"] == []
    mine = await site.http.get("/identity/v3/OS-FEDERATION/projects", headers=demo)
    assert [found["name"] for found in mine.json()["projects"]] == ["demo"]


async def test_schemas_of_metadata_definitions_are_there(site: Site) -> None:
    """The list of namespaces names its schema, whose address was a 404."""
    headers = {"X-Auth-Token": await site.token("demo", "demo", "demo")}
    listed = (await site.http.get("/image/v2/metadefs/namespaces", headers=headers)).json()
    for path in (
        listed["schema"],
        *(f"/v2/schemas/metadefs/{name}" for name in ("namespace", "objects", "properties")),
    ):
        schema = await site.http.get(f"/image{path}", headers=headers)
        assert schema.status_code == 200, path
        assert schema.json()["properties"]
