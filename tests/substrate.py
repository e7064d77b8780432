"""A real etcd and a real nats-server for tests, each with its own port and directory; they may be killed and paused."""

import asyncio
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from attrs import evolve
from ports import free_port

from control.secrets import SiteKey
from control.site.etcd import cache_dir, find_etcd
from kv.client import Etcd
from kv.keys import Global
from kv.store import Store
from kv.txn import Txn
from schemas.host import BusAddress, CellMapping, StoreAddress
from schemas.server import CELL0
from schemas.settings import BusSettings, CellSettings, GlobalSettings, Settings, StoreSettings

T = TypeVar("T")

READY_SECONDS = 60.0


@cache
def etcd_program() -> str:
    """KILONOVA_ETCD, else the one that a site would have."""
    return os.environ.get("KILONOVA_ETCD") or str(find_etcd(cache_dir(), print).program)


class Program:
    """A child process that comes back as it was: same port, same data. Ended by its own id."""

    port: int

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it serves."""
        self.launch()
        self.await_service()

    def launch(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def await_service(self) -> None:
        assert self._process
        deadline = time.monotonic() + READY_SECONDS
        while not self.serves():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self._command[0]} did not start; its exit code is {self._process.poll()}")
            time.sleep(0.02)

    def serves(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """As kill -9: nothing is said, nothing is flushed."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Returns when every thread stands still."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)
        threads = Path(f"/proc/{self._process.pid}/task")
        while any("\nState:\tT" not in (t / "status").read_text() for t in threads.iterdir()):
            time.sleep(0.001)

    def resume(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def ensure(self) -> None:
        """Whatever a test did to it: it serves again."""
        if self._process is None:
            self.start()
        self.resume()


class EtcdServer(Program):
    def __init__(self, data: Path, *options: str) -> None:
        self.port = free_port()
        self.endpoint = f"127.0.0.1:{self.port}"
        peer = f"http://127.0.0.1:{free_port()}"
        super().__init__(
            [
                etcd_program(),
                *("--name", "test", "--data-dir", str(data)),
                *("--listen-client-urls", f"http://{self.endpoint}"),
                *("--advertise-client-urls", f"http://{self.endpoint}"),
                *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
                *("--initial-cluster", f"test={peer}"),
                *("--log-level", "error", "--unsafe-no-fsync"),
                *options,
            ]
        )

    def serves(self) -> bool:
        """It listens a moment before it does."""
        try:
            with urllib.request.urlopen(f"http://{self.endpoint}/health", timeout=1) as answer:
                return b'"health":"true"' in answer.read()
        except OSError:
            return False

    def compact(self, revision: int) -> None:
        """Forgets what was before."""
        body = json.dumps({"revision": str(revision), "physical": True}).encode()
        urllib.request.urlopen(f"http://{self.endpoint}/v3/kv/compaction", body, timeout=10).close()


class NatsServer(Program):
    """JetStream stores below `data`; `more` is appended to its configuration."""

    def __init__(self, data: Path, port: int = 0, more: str = "") -> None:
        self.port = port or free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._config = data / "nats.conf"
        self._data = data
        data.mkdir(parents=True, exist_ok=True)
        self.configure(more)
        super().__init__([str(Path(sys.executable).parent / "nats-server"), "--config", str(self._config)])

    def configure(self, more: str) -> None:
        """For its next start, or `reload`."""
        self._config.write_text(
            f'listen: "127.0.0.1:{self.port}"\nmax_payload: 8MB\n'
            f'jetstream {{ store_dir: "{self._data / "jetstream"}", sync_interval: always }}\n{more}\n'
        )

    def reload(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGHUP)


@contextmanager
def running(program: Program) -> Iterator[Program]:
    program.start()
    try:
        yield program
    finally:
        program.stop()


@contextmanager
def running_etcd(data: Path) -> Iterator[str]:
    """The endpoint."""
    server = EtcdServer(data)
    with running(server):
        yield server.endpoint


@contextmanager
def running_nats(data: Path, port: int = 0) -> Iterator[str]:
    """The URL; with `port` it comes back where it was."""
    server = NatsServer(data, port)
    with running(server):
        yield server.url


async def eventually(condition: Callable[[], T | Awaitable[T]], seconds: float = 30.0) -> T:
    """The condition's value as soon as it is true; for what a watch or another process brings about."""
    latest: Any = None
    try:
        async with asyncio.timeout(seconds):
            while True:
                latest = condition()
                if inspect.isawaitable(latest):
                    latest = await latest
                if latest:
                    return latest  # type: ignore[no-any-return]  # whatever T is
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s; last seen: {latest!r}") from None


async def map_site(store: StoreSettings, bus: BusSettings, directory: Path) -> Settings:
    """Settings of a site of its own below the store's prefix, with cell0 and cell1 mapped."""
    key_file = directory / "site.key"
    cell_key = directory / "cell.key"
    SiteKey.load_or_make(key_file).of_cell("cell1").save(cell_key)
    prefix = store.prefix
    settings = Settings(
        top=GlobalSettings(_at(store, f"{prefix}global/"), bus, str(key_file)),
        cell=CellSettings("cell1", _at(store, f"{prefix}cells/cell1/"), bus, str(cell_key)),
    )
    txn = Txn("map cells")
    for name in (CELL0, "cell1"):
        address = StoreAddress(store.endpoints, f"{prefix}cells/{name}/")
        reached_by = None if name == CELL0 else BusAddress(bus.url)
        txn.create(Global.CELLS(name), CellMapping(name, str(uuid4()), address, reached_by))
    etcd = Etcd(store)
    await Store(etcd, settings.top.prefix).commit(txn)
    await etcd.close()
    return settings


def _at(store: StoreSettings, prefix: str) -> StoreSettings:
    return evolve(store, prefix=prefix)
