"""Real things that contract tests run against, each made once a session."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from driver_labs import libvirt_guest_disk
from etcd_labs import Lab, real_lab, twin_lab
from substrate import EtcdServer, running

from kv.backend import Backend
from kv.client import Etcd
from kv.store import Store
from kv.twin.client import Twin
from kv.twin.cluster import Cluster
from schemas.settings import StoreSettings


@pytest.fixture(scope="session")
def libvirt_guest() -> Path:
    return libvirt_guest_disk()


@pytest.fixture(scope="session")
def own_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """Nobody else writes into it or compacts it."""
    server = EtcdServer(tmp_path_factory.mktemp("own-etcd"))
    with running(server):
        yield server


@pytest.fixture(params=["etcd", "twin"])
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    if request.param == "twin":
        async with twin_lab() as made:
            yield made
    else:
        async with real_lab(request.getfixturevalue("own_etcd").endpoint) as made:
            yield made


@pytest.fixture(params=["etcd", "twin"])
def connect(request: pytest.FixtureRequest) -> Callable[[], Backend]:
    """Makes connections to one etcd."""
    if request.param == "twin":
        cluster = Cluster()
        return lambda: Twin(cluster)
    endpoint = request.getfixturevalue("etcd_endpoint")
    return lambda: Etcd(StoreSettings(endpoints=(endpoint,)))


@pytest.fixture
async def store(connect: Callable[[], Backend]) -> AsyncIterator[Store]:
    """Of this test alone."""
    backend = connect()
    yield Store(backend, f"test-{uuid4().hex}/")
    await backend.close()
