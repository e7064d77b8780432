"""One API process for all that is typed against it; where servers are to run, one whole site of simulated hosts."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from control.site.options import Layout, SiteOptions
from control.site.site import Site
from tests.bench.subject import prefer_named_etcd
from tests.e2e.live import DEMO_PASSWORD, Api, Cloud, running_api
from tests.e2e.typed import NEWEST, Typed
from tests.ports import site_ports


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


HOSTS = 2


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Every process as a user runs it. As its admin, with the image `tiny`."""
    layout = Layout(tmp_path_factory.mktemp("e2e") / "site")
    site, path = Site(layout, lambda _: None), os.environ.get("PATH", "")
    prefer_named_etcd()
    try:
        options = site.up(SiteOptions("simulated", HOSTS, site_ports()))
        cloud = Cloud(options.url, password=json.loads(layout.secrets.read_text())["admin"])
        disk = layout.root / "disk.raw"
        disk.write_bytes(b"a disk of a guest that is only simulated" * 64)
        bare = ["--disk-format", "raw", "--container-format", "bare"]
        cloud.ok("image", "create", *bare, "--public", "--file", str(disk), "tiny")
        yield cloud
    finally:
        site.down()
        os.environ["PATH"] = path


@pytest.fixture(params=[pytest.param("", marks=pytest.mark.e2e, id="default"), pytest.param(NEWEST, id=NEWEST)])
def typed(site: Cloud, request: pytest.FixtureRequest) -> Typed:
    """At the client's own version of the compute API, and at the highest."""
    return Typed(site, request.param)


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A public key."""
    file: Path = tmp_path_factory.mktemp("keys") / "key.pub"
    file.write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5Al3ElbI4Ekm+4oqRWDjqFUgKYC4YQEF4JBYUlDk7O someone")
    return str(file)
