"""Labs for the drivers' contract: the same few things to do to a hypervisor, real or simulated, and to clean up after.

A lab hands out drivers over one hypervisor that outlives them, images to boot, and mishaps.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic
from uuid import uuid4

import pytest

from agents.drivers.base import Driver
from agents.drivers.simulated import Delays, SimulatedCapacity, SimulatedDriver, SimulatedGuest, SimulatedHypervisor
from control.site.etcd import cache_dir
from schemas.guest import GuestMark, GuestSpec, GuestState, ImageGrant, NicSpec

SCRIPTS = Path(__file__).parents[1] / "control" / "site" / "scripts"
SITE = f"contract-{os.getpid()}"


def new_spec(image: ImageGrant | None = None, **changes: object) -> GuestSpec:
    """A small guest; without an image it has a blank disk, which runs as far as the firmware and costs next to
    nothing."""
    server = str(uuid4())
    values: dict[str, object] = {
        "mark": GuestMark(SITE, server, "p1", 1, f"op-{server[:8]}"),
        "instance_name": f"instance-{server[:8]}",
        "name": "contract",
        "hostname": "contract",
        "user": "u1",
        "vcpus": 1,
        "memory_mb": 192 if image else 32,
        "root_gb": 1,
        "ephemeral_gb": 0,
        "swap_mb": 0,
        "image": image,
        "nics": (NicSpec(f"52:54:00:{server[0:2]}:{server[2:4]}:{server[4:6]}"),),
    }
    return GuestSpec(**(values | changes))  # type: ignore[arg-type]


class Lab(ABC):
    def __init__(self) -> None:
        self.reports: list[GuestState] = []
        self.drivers: list[Driver] = []

    async def driver(self, **how: object) -> Driver:
        """A started driver, as after another start of the agent."""
        made = self.make(**how)
        await made.start(self.reports.append)
        self.drivers.append(made)
        return made

    async def close(self) -> None:
        for driver in self.drivers:
            await driver.close()

    async def reported(self, server: str, timeout: float = 20.0, **wanted: object) -> GuestState:
        """The next report of a server, from now or before, that has the wanted attributes (True: any that is set)."""
        async with asyncio.timeout(timeout):
            while True:
                for state in self.reports:
                    if state.server == server and all(_fits(getattr(state, k), v) for k, v in wanted.items()):
                        return state
                await asyncio.sleep(0.02)

    @abstractmethod
    def make(self, **how: object) -> Driver: ...

    @abstractmethod
    def image(self) -> ImageGrant: ...

    @abstractmethod
    def has_cached(self, image: ImageGrant) -> bool: ...

    @abstractmethod
    def wrong_image(self) -> ImageGrant:
        """One whose bytes do not match its digest."""

    @abstractmethod
    def full(self) -> contextlib.AbstractAsyncContextManager[tuple[Driver, GuestSpec]]:
        """A driver and a guest that its host has no room for."""

    @abstractmethod
    def outage(self) -> contextlib.AbstractAsyncContextManager[tuple[Driver, "Outage"]]: ...

    @abstractmethod
    def leftovers(self, server: str) -> list[str]:
        """What is left of a server on the host, however it is called."""

    @abstractmethod
    def stop_behind(self, server: str) -> None:
        """The guest stops without the agent's doing."""

    @abstractmethod
    def halt_behind(self, server: str) -> None:
        """The hypervisor stops the guest without being asked, as after an internal error."""

    @abstractmethod
    def vanish_behind(self, server: str) -> None: ...

    @abstractmethod
    def foreign(self) -> contextlib.AbstractContextManager[str]:
        """The UUID of a domain that somebody else defined."""


class Outage(ABC):
    @abstractmethod
    async def begin(self) -> None: ...

    @abstractmethod
    async def end(self) -> None: ...


class SimulatedLab(Lab):
    def __init__(self) -> None:
        super().__init__()
        self.hypervisor = SimulatedHypervisor()

    def make(self, **how: object) -> Driver:
        delays = Delays({"spawn": (0.0, 0.05), "power_off": 0.01}, address=0.02)
        return SimulatedDriver("simulated-1", self.hypervisor, SimulatedCapacity(**how), delays=delays)  # type: ignore[arg-type]

    def image(self) -> ImageGrant:
        return ImageGrant("i1", "sha256:" + "1" * 64, 1000, "qcow2", "http://images.example/i1")

    def has_cached(self, image: ImageGrant) -> bool:
        return image.digest in self.hypervisor.cached_images

    def wrong_image(self) -> ImageGrant:
        wrong = ImageGrant("i2", "sha256:" + "2" * 64, 1000, "qcow2", "http://images.example/i2")
        self.hypervisor.unusable_images.add(wrong.digest)
        return wrong

    @contextlib.asynccontextmanager
    async def full(self) -> AsyncIterator[tuple[Driver, GuestSpec]]:
        driver = SimulatedDriver("simulated-1", self.hypervisor, SimulatedCapacity(local_gb=10))
        await driver.start(self.reports.append)
        yield driver, new_spec(root_gb=11)
        await driver.close()

    @contextlib.asynccontextmanager
    async def outage(self) -> AsyncIterator[tuple[Driver, Outage]]:
        hypervisor = self.hypervisor

        class Down(Outage):
            async def begin(self) -> None:
                hypervisor.down = True

            async def end(self) -> None:
                hypervisor.down = False

        yield await self.driver(), Down()

    def leftovers(self, server: str) -> list[str]:
        return [server] if server in self.hypervisor.guests else []

    def stop_behind(self, server: str) -> None:
        self.hypervisor.set_power(server, 4)

    def halt_behind(self, server: str) -> None:
        self.hypervisor.halt(server, "the hypervisor stopped the guest: simulated")

    def vanish_behind(self, server: str) -> None:
        self.hypervisor.vanish(server)

    @contextlib.contextmanager
    def foreign(self) -> Iterator[str]:
        server = str(uuid4())
        self.hypervisor.put(SimulatedGuest(GuestState(server, 4), memory_mb=32, disk_gb=0))
        yield server


class LibvirtLab(Lab):
    """libvirt as this machine has it; `guest` is the test guest's disk."""

    uri = "qemu:///system"

    def __init__(self, directory: Path, guest: Path) -> None:
        super().__init__()
        self.directory = directory
        self.state_dir = directory / "state"
        self.guest = guest
        self.server = serve_files(guest.parent)

    def make(self, **how: object) -> Driver:
        from agents.drivers.libvirt.driver import LibvirtDriver
        from schemas.settings import LibvirtSettings

        sets, devices = how.pop("sets", None), how.pop("devices", ())
        # Emulated on every machine: the probe for KVM takes seconds where KVM is broken, and times are comparable.
        values = {"state_dir": self.state_dir, "uri": self.uri, "domain_type": "qemu", "address_poll_seconds": 0.2}
        return LibvirtDriver(LibvirtSettings(**(values | how)), sets, devices)  # type: ignore[arg-type]

    async def close(self) -> None:
        cleaner = await self.driver()
        for state in await cleaner.guests():
            if state.mark is not None and state.mark.site == SITE:
                await cleaner.destroy(state.server)
        await super().close()
        self.server.shutdown()

    def image(self) -> ImageGrant:
        url = f"http://127.0.0.1:{self.server.server_port}/{self.guest.name}"
        return ImageGrant("i1", _digest(self.guest), self.guest.stat().st_size, "qcow2", url)

    def has_cached(self, image: ImageGrant) -> bool:
        return (self.state_dir / "images" / image.digest.removeprefix("sha256:")).exists()

    def wrong_image(self) -> ImageGrant:
        right = self.image()
        return ImageGrant("i2", "sha256:" + "2" * 64, right.size, "qcow2", right.url)

    @contextlib.asynccontextmanager
    async def full(self) -> AsyncIterator[tuple[Driver, GuestSpec]]:
        with small_disk(self.directory / "small", megabytes=4):
            driver = self.make(state_dir=self.directory / "small")
            await driver.start(self.reports.append)
            yield driver, new_spec(self.image())
            assert not any((self.directory / "small" / "images").iterdir())
            await driver.close()

    @contextlib.asynccontextmanager
    async def outage(self) -> AsyncIterator[tuple[Driver, Outage]]:
        proxy = SocketProxy(self.directory / "libvirt.sock", Path("/run/libvirt/libvirt-sock"))
        await proxy.end()
        yield await self.driver(uri=f"qemu+unix:///system?socket={proxy.path}"), proxy
        await proxy.begin()

    def leftovers(self, server: str) -> list[str]:
        known = subprocess.run(["virsh", "-c", self.uri, "domstate", server], capture_output=True, check=False)
        files = [str(path) for path in (self.state_dir / "guests" / server).rglob("*")]
        parts = [str(path) for path in (self.state_dir / "images").glob("*.part")]
        return files + parts + ([server] if known.returncode == 0 else [])

    def stop_behind(self, server: str) -> None:
        self._virsh("destroy", server)

    def halt_behind(self, server: str) -> None:
        """QEMU's own command: libvirt sees the same as when QEMU stops a guest by itself."""
        self._virsh("qemu-monitor-command", server, "--hmp", "stop")

    def vanish_behind(self, server: str) -> None:
        self._virsh("destroy", server)
        self._virsh("undefine", server)

    @contextlib.contextmanager
    def foreign(self) -> Iterator[str]:
        server = str(uuid4())
        xml = self.directory / "foreign.xml"
        xml.write_text(
            f"<domain type='qemu'><name>foreign-{server[:8]}</name><uuid>{server}</uuid><memory unit='MiB'>32</memory>"
            "<os><type arch='x86_64'>hvm</type></os></domain>"
        )
        self._virsh("define", str(xml))
        try:
            yield server
        finally:
            self._virsh("undefine", server)

    def _virsh(self, *arguments: str) -> None:
        subprocess.run(["virsh", "-q", "-c", self.uri, *arguments], check=True, capture_output=True)


class SocketProxy(Outage):
    """Between one client and libvirtd: its outage looks like a libvirtd that was killed and started again."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self.silent = False
        """nothing passes, nobody hangs up"""
        self._target = target
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()

    async def begin(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            self.path.unlink(missing_ok=True)
        for pipe in tuple(self._pipes):
            pipe.cancel()

    async def end(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pipes.add(task)
        try:
            there, back = await asyncio.open_unix_connection(self._target)
            async with asyncio.TaskGroup() as pipes:
                pipes.create_task(self._pipe(reader, back))
                pipes.create_task(self._pipe(there, writer))
        except asyncio.CancelledError:
            writer.close()
            back.close()
        finally:
            self._pipes.discard(task)

    async def _pipe(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            if not self.silent:
                sink.write(data)
                await sink.drain()
        sink.close()


@contextlib.contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[None]:
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def serve_files(directory: Path) -> ThreadingHTTPServer:
    """A web server on a port of its own; `shutdown()` ends it. `requests` holds the paths that were asked for."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            requests.append(self.path)

    requests: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(directory)))
    server.requests = requests  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


async def console_shows(driver: Driver, server: str, text: str, timeout: float = 90.0) -> str:
    end = monotonic() + timeout
    while text not in (shown := await driver.console_output(server, None)):
        assert monotonic() < end, f"no {text} on the console within {timeout:g} s: {shown[-2000:]}"
        await asyncio.sleep(0.1)
    return shown


def libvirt_guest_disk() -> Path:
    """libvirtd runs, and here is the test guest's disk. Both stay for the next session: they are slow to make. Skips
    the test where there is no libvirt."""
    missing = missing_for_libvirt()
    if missing:
        pytest.skip(missing)
    out = cache_dir() / "test-guest"
    out.mkdir(parents=True, exist_ok=True)
    with (out / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several processes run tests
        subprocess.run([SCRIPTS / "start-libvirt"], check=True)
        subprocess.run([SCRIPTS / "build-guest", out], check=True)
    return out / "guest.qcow2"


def missing_for_libvirt() -> str | None:
    """Why the libvirt lab cannot be set up here."""
    try:
        import libvirt  # noqa: F401
    except ImportError as error:
        return f"libvirt-python is not installed: {error}"
    if os.geteuid() != 0:
        return "the libvirt lab needs root"
    if not shutil.which("libvirtd"):
        return "libvirtd is not installed"
    return None


def _fits(found: object, wanted: object) -> bool:
    return bool(found) if wanted is True else found == wanted


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
