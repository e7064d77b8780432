"""The compute API over HTTP on a real etcd and nats-server, with a site of its own for each test."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from attrs import evolve, field, frozen
from compute_client import Client

from control.api.frame import Frame
from control.compute.app import ComputeApp
from control.secrets import SiteKey
from control.top import Top, open_top
from kv.client import Etcd
from kv.keys import Global
from kv.store import Store
from kv.txn import Txn
from schemas.errors import StoreUnavailable, Unauthorized
from schemas.host import BusAddress, CellMapping, StoreAddress
from schemas.identity import Identity
from schemas.image import Image
from schemas.server import CELL0
from schemas.settings import BusSettings, GlobalSettings, Settings, StoreSettings

PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6Nrp2Hi4wWcWDuTFUJVBGS4EmA6vFG8bSXLPzsqm9x me"
USER_DATA = base64.b64encode(b"#!/bin/sh\necho hello\n").decode()


def person(name: str, project: str, *roles: str) -> Identity:
    return Identity(f"user-{name}", name, f"project-{project}", project, frozenset(roles))


@frozen
class KnownTokens:
    """The identity service's place: a token is a person's name."""

    people: dict[str, Identity] = field(
        factory=lambda: {
            "admin": person("admin", "admin", "admin", "member", "reader"),
            "member": person("member", "demo", "member", "reader"),
            "reader": person("reader", "demo", "reader"),
            "stranger": person("stranger", "other", "member", "reader"),
            "nobody": Identity("user-nobody", "nobody", "", ""),
        }
    )

    async def verify(self, token: str) -> Identity:
        if token not in self.people:
            raise Unauthorized("The request you have made requires authentication.")
        return self.people[token]


async def _answering(store: Store) -> None:
    """etcd listens a moment before it serves."""
    async with asyncio.timeout(10):
        while True:
            try:
                await store.count(Global.CELLS.under())
                return
            except StoreUnavailable:
                await asyncio.sleep(0.05)


@pytest.fixture
async def top(store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path) -> AsyncIterator[Top]:
    """The handles of a top with cell0 and cell1 mapped."""
    key_file = tmp_path / "site.key"
    SiteKey.load_or_make(key_file)
    own = GlobalSettings(evolve(store_settings, prefix=store_settings.prefix + "global/"), bus_settings, str(key_file))
    settings = evolve(Settings(), top=own)
    etcd = Etcd(own.store)
    txn = Txn("map cells")
    for name in (CELL0, "cell1"):
        address = StoreAddress(own.store.endpoints, f"{store_settings.prefix}cells/{name}/")
        bus = None if name == CELL0 else BusAddress(bus_settings.url)
        txn.create(Global.CELLS(name), CellMapping(name, str(uuid4()), address, bus))
    store = Store(etcd, own.prefix)
    await _answering(store)
    await store.commit(txn)
    await etcd.close()
    async with open_top(settings, "test", cell_buses=True) as opened:
        yield opened


@pytest.fixture
async def http(top: Top) -> AsyncIterator[httpx.AsyncClient]:
    app = Frame(ComputeApp(top, KnownTokens()), deadline=30)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api.test:8774") as client:
        yield client


@pytest.fixture
def api(http: httpx.AsyncClient) -> Callable[..., Client]:
    """`api("admin", "2.26")` is a client of that person and version."""
    return lambda token="member", version="2.1": Client(http, token, version)


FLAVOR = {"name": "tiny", "id": "1", "ram": 512, "vcpus": 1, "disk": 1}


@pytest.fixture
async def flavor(api: Callable[..., Client]) -> str:
    await api("admin").ok("POST", "/flavors", {"flavor": FLAVOR})
    return "1"


@pytest.fixture
async def image(top: Top) -> str:
    """An active public image."""
    ident, now = str(uuid4()), datetime.now(UTC)
    image = Image(
        ident,
        "guest",
        "project-admin",
        now,
        now,
        status="active",
        visibility="public",
        disk_format="qcow2",
        size=1 << 20,
        digest="sha256:" + "0" * 64,
    )
    await top.store.commit(Txn("image").create(Global.IMAGES(ident), image))
    return ident


@pytest.fixture
def asked(flavor: str, image: str) -> dict[str, Any]:
    """The inside of a plain create request of 2.37 and later."""
    return {"name": "web", "flavorRef": flavor, "imageRef": image, "networks": "auto"}
