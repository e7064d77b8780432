"""Real things that contract tests run against, each made once a session."""

import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from driver_labs import missing_for_libvirt
from etcd_labs import Lab, real_lab, twin_lab
from substrate import EtcdServer, running

from kv.backend import Backend
from kv.client import Etcd
from kv.store import Store
from kv.twin.client import Twin
from kv.twin.cluster import Cluster
from schemas.settings import StoreSettings

SCRIPTS = Path(__file__).parents[2] / "control" / "site" / "scripts"


@pytest.fixture(scope="session")
def libvirt_guest() -> Path:
    """libvirtd runs, and here is the test guest's disk. Both stay for the next session: they are slow to make."""
    missing = missing_for_libvirt()
    if missing:
        pytest.skip(missing)
    subprocess.run([SCRIPTS / "start-libvirt"], check=True)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    out = cache / "kilonova" / "test-guest"
    subprocess.run([SCRIPTS / "build-guest", out], check=True)
    return out / "guest.qcow2"


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
