"""One etcd and one nats-server a process that runs tests, which keep apart by prefixes, buckets and subjects of their
own.

What a test may kill or pause is `fragile_etcd` and `fragile_nats`: one of each for all who do.

`just test` is spread over some processes, file by file: most of its time it waits for others, for leases and for
time-outs that are the matter of a test. Files that were named, and what failed before, run in one process.
"""

import os
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import structlog
from compares import hold_to_compares
from hypothesis import HealthCheck, settings
from leaks import leaks, leaks_in_logs
from substrate import EtcdServer, NatsServer, map_site, running, running_etcd, running_nats

from control.top import Top, open_top
from kv.client import Etcd
from kv.store import Store
from runtime.logs import configure_logs
from schemas.settings import BusSettings, StoreSettings

LONGEST = (
    "contract/test_drivers.py",
    "functional/placement/test_placement_doors.py",
    "functional/test_host_faults.py",
    "chaos/test_boot_kills.py",
    "functional/test_sagas.py",
    "sim/test_seeds.py",
)
"""Begun first, so that none of them is left alone at the end."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    everything = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not config.option.lf
    return (os.cpu_count() or 1) + 1 if everything else 0


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        names = [str(Path(__file__).parent / name) for name in LONGEST]
        items.sort(key=lambda item: names.index(str(item.path)) if str(item.path) in names else len(names))


def pytest_configure() -> None:
    """Logs are written as a process of the product writes them, so that what they hold can be judged."""
    configure_logs("tests", "info", "json")
    hold_to_compares()
    structlog.configure(
        logger_factory=lambda *_: structlog.PrintLogger(sys.stdout),  # as it is when a line is written: pytest's
        cache_logger_on_first_use=False,
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fails a test in which a secret was logged; an unexpected error once logged passwords and signing keys."""
    report = yield
    here = item.path.relative_to(Path(__file__).parent)
    if report.passed and here.parts[0] != "e2e" and here != Path("unit", "test_leaks.py"):  # clients print their tokens
        found = [leak for _, text in report.sections for leak in leaks(text)]
        if found:
            report.outcome, report.longrepr = "failed", f"logged: {'; '.join(found)}"
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """The same for what processes of their own logged to files."""
    factory = getattr(session.config, "_tmp_path_factory", None)
    if factory is None or hasattr(session.config, "workerinput"):
        return
    found = list(leaks_in_logs(factory.getbasetemp()))
    if found:
        print("\nsecrets in logs:", *found, sep="\n")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


# A busy machine is no falsification.
settings.register_profile("kilonova", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kilonova")


@pytest.fixture(scope="session")
def etcd_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_etcd(tmp_path_factory.mktemp("etcd")) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_nats(tmp_path_factory.mktemp("nats")) as url:
        yield url


@pytest.fixture(scope="session")
def _fragile_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    server = EtcdServer(tmp_path_factory.mktemp("fragile-etcd"))
    with running(server):
        yield server


@pytest.fixture
def fragile_etcd(_fragile_etcd: EtcdServer) -> Iterator[EtcdServer]:
    """Kill it, pause it, start it again: the next test finds it serving."""
    yield _fragile_etcd
    _fragile_etcd.ensure()


@pytest.fixture(scope="session")
def _fragile_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path_factory.mktemp("fragile-nats"))
    with running(server):
        yield server


@pytest.fixture
def fragile_nats(_fragile_nats: NatsServer) -> Iterator[NatsServer]:
    yield _fragile_nats
    _fragile_nats.ensure()


@pytest.fixture
def store_settings(etcd_endpoint: str) -> StoreSettings:
    """A store of this test alone."""
    return StoreSettings(endpoints=(etcd_endpoint,), prefix=f"test-{uuid4().hex}/")


@pytest.fixture
def bus_settings(nats_url: str) -> BusSettings:
    return BusSettings(url=nats_url)


@pytest.fixture
async def store(store_settings: StoreSettings) -> AsyncIterator[Store]:
    etcd = Etcd(store_settings)
    yield Store(etcd, store_settings.prefix)
    await etcd.close()


@pytest.fixture
async def top(store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path) -> AsyncIterator[Top]:
    """The handles of a top whose cell0 and cell1 are mapped; nothing else runs."""
    settings = await map_site(store_settings, bus_settings, tmp_path)
    async with open_top(settings, "test", cell_buses=True, serving=True) as opened:
        yield opened
