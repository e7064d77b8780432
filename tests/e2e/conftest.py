"""One API process for all that is typed against it."""

from collections.abc import Iterator

import pytest

from tests.e2e.live import DEMO_PASSWORD, Api, Cloud, running_api


@pytest.fixture(scope="session")
def live_api(etcd_endpoint: str, nats_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_api(etcd_endpoint, nats_url, tmp_path_factory.mktemp("live")) as api:
        yield api


@pytest.fixture(scope="session")
def cloud(live_api: Api) -> Cloud:
    """As the admin."""
    return Cloud(live_api.url)


@pytest.fixture(scope="session")
def demo(live_api: Api) -> Cloud:
    """As an ordinary user."""
    return Cloud(live_api.url, "demo", DEMO_PASSWORD, "demo")
