"""Each room serves its document to everybody."""

from pathlib import Path

import pytest
from sites import open_site

from schemas.settings import BusSettings, StoreSettings

DOCUMENTS = [
    ("/compute/openapi.json", "/servers", "v2.1"),
    ("/identity/openapi.json", "/v3/users", "."),
    ("/image/openapi.json", "/v2/images", "."),
]


@pytest.mark.parametrize(("address", "path", "server"), DOCUMENTS)
async def test_it_is_read_without_a_token(
    store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path, address: str, path: str, server: str
) -> None:
    """Its server's URL is relative to where it was read."""
    async with open_site(store_settings, bus_settings, tmp_path) as site:
        answer = await site.http.get(address)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        told = answer.json()
        assert told["openapi"] == "3.1.0"
        assert told["servers"] == [{"url": server}]
        assert path in told["paths"]
