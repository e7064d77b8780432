"""One etcd and one nats-server a test session; tests keep apart by prefixes, buckets and subjects of their own."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from substrate import running_etcd, running_nats

from schemas.settings import BusSettings, StoreSettings


@pytest.fixture(scope="session")
def etcd_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_etcd(tmp_path_factory.mktemp("etcd")) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_nats(tmp_path_factory.mktemp("nats")) as url:
        yield url


@pytest.fixture
def store_settings(etcd_endpoint: str) -> StoreSettings:
    """A store of this test alone."""
    return StoreSettings(endpoints=(etcd_endpoint,), prefix=f"test-{uuid4().hex}/")


@pytest.fixture
def bus_settings(nats_url: str) -> BusSettings:
    return BusSettings(url=nats_url)
