"""A real etcd and a real nats-server for tests, each with its own ports and directory."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

READY_SECONDS = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def etcd_program() -> str:
    """KILONOVA_ETCD, else etcd on PATH, else the one that `kilonova site` keeps."""
    named = os.environ.get("KILONOVA_ETCD") or shutil.which("etcd")
    if named:
        return named
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kilonova"
    for found in sorted(cache.glob("**/bin/etcd")):
        return str(found)
    pytest.skip("no etcd: set KILONOVA_ETCD to its path")


@contextmanager
def running_etcd(data: Path) -> Iterator[str]:
    """The endpoint."""
    port, peer = free_port(), free_port()
    command = [
        etcd_program(),
        *("--name", "test", "--data-dir", str(data)),
        *("--listen-client-urls", f"http://127.0.0.1:{port}"),
        *("--advertise-client-urls", f"http://127.0.0.1:{port}"),
        *("--listen-peer-urls", f"http://127.0.0.1:{peer}"),
        *("--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}"),
        *("--initial-cluster", f"test=http://127.0.0.1:{peer}"),
        *("--log-level", "error", "--unsafe-no-fsync"),
    ]
    with running(command, port):
        yield f"127.0.0.1:{port}"


@contextmanager
def running_nats(data: Path, port: int = 0) -> Iterator[str]:
    """The URL. JetStream stores below `data`; with `port` it comes back where it was."""
    program = Path(sys.executable).parent / "nats-server"
    config = data / "nats.conf"
    port = port or free_port()
    data.mkdir(parents=True, exist_ok=True)
    config.write_text(
        f'listen: "127.0.0.1:{port}"\nmax_payload: 8MB\n'
        f'jetstream {{ store_dir: "{data / "jetstream"}", sync_interval: always }}\n'
    )
    with running([str(program), "--config", str(config)], port):
        yield f"nats://127.0.0.1:{port}"


@contextmanager
def running(command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A child that listens on `port`; ended by its own id."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start; its exit code is {process.poll()}")
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Returns when the condition holds; for what a watch or another process brings about."""
    async with asyncio.timeout(seconds):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
