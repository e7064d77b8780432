"""The compute API over HTTP on a real etcd and nats-server, with a site of its own for each test."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
from attrs import evolve, field, frozen
from compute_client import Client
from unit_records import instance

from control.api.frame import Frame
from control.compute.app import ComputeApp
from control.top import Top, open_top
from kv.keys import Cell, Global
from kv.txn import Txn
from schemas.errors import Unauthorized
from schemas.identity import Identity, Project
from schemas.image import Image
from schemas.server import HostedServer, Instance, InstanceMapping, ServerIndex, time_key


def person(name: str, project: str, *roles: str) -> Identity:
    return Identity(f"user-{name}", name, f"project-{project}", project, frozenset(roles))


@frozen
class KnownTokens:
    """The identity service's place: a token is a person's name."""

    people: dict[str, Identity] = field(
        factory=lambda: {
            "admin": person("admin", "admin", "admin", "member", "reader"),
            "operator": person("operator", "demo", "admin", "member", "reader"),
            "colleague": person("colleague", "demo", "member", "reader"),
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


@pytest.fixture
async def http(top: Top) -> AsyncIterator[httpx.AsyncClient]:
    txn, now = Txn("projects"), datetime.now(UTC)
    for name in ("project-admin", "project-demo", "project-other"):
        txn.put(Global.IDENTITY_PROJECTS(name), Project(name, name, now))
    await top.store.commit(txn)
    app = Frame(ComputeApp(top, KnownTokens()), deadline=30)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api.test:8774") as client:
        yield client


@pytest.fixture
async def other(top: Top, http: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """Another API of the same site, with connections of its own."""
    async with open_top(top.settings, "other", cell_buses=True, serving=True) as theirs:
        app = Frame(ComputeApp(theirs, KnownTokens()), deadline=30)
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
def place(top: Top) -> Callable[..., Awaitable[Instance]]:
    """Puts a server of project-demo into cell1, active on h1 unless told otherwise, as a finished boot leaves it."""

    async def put(**more: Any) -> Instance:
        base = instance(uuid=str(uuid4()), project="project-demo", user="user-member", created=datetime.now(UTC))
        server = evolve(base, updated=base.created, launched=base.created)
        server = evolve(server, **more)
        when = time_key(server.created_us, server.uuid)
        mapping = InstanceMapping(server.uuid, server.project, server.user, server.created, "cell1")
        txn = Txn("given server").put(Global.INSTANCES(server.uuid), mapping)
        line = ServerIndex(server.project, "cell1")
        txn.put(Global.PROJECT_SERVERS(server.project, when), line).put(Global.ALL_SERVERS(when), line)
        await top.store.commit(txn)
        cell = Txn("given server").put(Cell.INSTANCES(server.project, when), server)
        cell.put(Cell.BY_HOST(str(server.host), server.uuid), HostedServer(server.project, server.created_us))
        await top.cells.store("cell1").commit(cell)
        return server

    return put


@pytest.fixture
def asked(flavor: str, image: str) -> dict[str, Any]:
    """The inside of a plain create request of 2.37 and later."""
    return {"name": "web", "flavorRef": flavor, "imageRef": image, "networks": "auto"}
