"""A real hypervisor in trouble under a whole site: its disk, its images, its guests, its daemons, its agent, its bus.

The agent is a process of its own, libvirtd one of this module's own; both are killed. What is not about guests that
boot uses a blank disk: no more than the firmware runs in it, which obeys no power button.
"""

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from attrs import define, evolve, field
from driver_labs import libvirt_guest_disk, serve_files, small_disk
from ports import free_port
from private_libvirt import PrivateLibvirt
from substrate import NatsServer, eventually, map_site
from thread_site import Site, running_site

from control.conductor.cell.reconcile import MISSING
from control.conductor.top.builds import NO_VALID_HOST
from control.site.files import to_toml
from kv.keys import Cell, Global
from schemas.flavor import Flavor
from schemas.guest import PowerState
from schemas.image import Image
from schemas.settings import ApiSettings, BusSettings, ConductorSettings, StoreSettings
from schemas.shards import shard_of

pytestmark = [pytest.mark.guest, pytest.mark.asyncio(loop_scope="module")]

DISK_MB = 64
BLANK = Flavor("b", "blank", vcpus=1, memory_mb=32, root_gb=0)
SMALL = Flavor("s", "small", vcpus=1, memory_mb=192, root_gb=0)
PATIENT = ConductorSettings(
    lease_ttl=10,
    rescan_seconds=0.5,
    host_lease_ttl=6,
    spawn_timeout=90,
    command_timeout=60,
    stop_timeout=1,
    max_attempts=2,
)
SECONDS = 60.0
"""until a server is at rest on a busy machine"""


@define(eq=False)
class AgentProcess:
    config: Path
    port: int = field(factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Returns when it is registered."""
        self.launch()
        await eventually(lambda: asyncio.to_thread(self.ready), SECONDS)

    def launch(self) -> None:
        command = [str(Path(sys.executable).parent / "kilonova"), "agent", "--config", str(self.config)]
        environment = os.environ | {"KILONOVA_PROCESS_OBSERVE_PORT": str(self.port)}
        with (self.config.parent / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def ready(self) -> bool:
        assert self.process
        assert self.process.poll() is None, (self.config.parent / "agent.log").read_text()[-3000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@define(eq=False)
class Lab:
    site: Site
    libvirt: PrivateLibvirt
    agent: AgentProcess
    nats: NatsServer
    images: Path
    guest: Path
    state: Path

    def image(self, digest: str = "") -> Image:
        """The test guest, under its own digest or one that is not its own."""
        right = hashlib.sha256(self.guest.read_bytes()).hexdigest()
        name = digest or right
        shutil.copy(self.guest, self.images / name)
        now = datetime.now(UTC)
        size = self.guest.stat().st_size
        return Image(
            str(uuid4()), "tiny", "p1", now, now, "active", disk_format="qcow2", size=size, digest=f"sha256:{name}"
        )

    def files(self) -> list[str]:
        """What guests and half-fetched images have on the host's disk."""
        return [*map(str, (self.state / "guests").rglob("*")), *map(str, (self.state / "images").glob("*.part"))]

    async def nothing_is_left(self, *uuids: str) -> None:
        await self.site.gone(*uuids, seconds=SECONDS)

        async def clean() -> bool:
            return not await self.virsh("list", "--all", "--name") and not self.files()

        await eventually(clean, SECONDS)
        await self.site.books_are_empty()

    async def rest(self, uuid: str, vm_state: str) -> None:
        await self.site.at_rest(uuid, vm_state, SECONDS)

    async def blank(self) -> str:
        uuid = await self.site.create(BLANK)
        await self.rest(uuid, "active")
        return uuid

    async def virsh(self, *arguments: str) -> str:
        done = await asyncio.to_thread(self.libvirt.virsh, *arguments)
        return done.stdout.strip()

    async def is_now(self, uuid: str, state: str) -> None:
        """`state` as virsh says it; empty: there is no such domain."""

        async def as_said() -> bool:
            return await self.virsh("domstate", uuid) == state

        await eventually(as_said, SECONDS)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(etcd_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    guest = libvirt_guest_disk()
    directory = tmp_path_factory.mktemp("host-faults")
    nats = NatsServer(directory / "nats")
    short = Path(tempfile.mkdtemp(prefix="kn-"))
    libvirt = PrivateLibvirt(short / "l")
    images = directory / "web" / "image" / "blobs"
    images.mkdir(parents=True)
    web: ThreadingHTTPServer = serve_files(directory / "web")
    store = StoreSettings(endpoints=(etcd_endpoint,), prefix=f"test-{uuid4().hex}/")
    state = directory / "state"
    agent = AgentProcess(directory / "agent.toml")
    with small_disk(state, DISK_MB):  # before libvirt, whose mounts are its own from its start on
        try:
            nats.start()
            libvirt.start()
            settings = await map_site(store, BusSettings(nats.url), directory)
            settings = evolve(settings, api=ApiSettings(public_url=f"http://127.0.0.1:{web.server_port}"))
            configuration = {
                "host": "h1",
                "state_dir": str(state),
                "heartbeat_seconds": 1.0,
                "inventory_seconds": 2.0,
                "bus": {"url": nats.url},
                "libvirt": {"uri": libvirt.uri, "domain_type": "qemu", "address_poll_seconds": 0.2},
            }
            agent.config.write_text(to_toml({"agent": configuration}))
            async with running_site(settings, conductor=PATIENT) as site:
                await site.stop("scheduler")
                await agent.start()

                async def mapped() -> bool:
                    return await site.top.store.count(Global.USAGES.under()) == 1

                await eventually(mapped, SECONDS)
                await site.start("scheduler")
                yield Lab(site, libvirt, agent, nats, images, guest, state)
        finally:
            agent.kill()
            libvirt.stop()
            shutil.rmtree(short)
            nats.stop()
            web.shutdown()


async def test_a_disk_that_is_full(lab: Lab) -> None:
    filler = lab.state / "filler"
    free = os.statvfs(lab.state).f_bavail * os.statvfs(lab.state).f_frsize
    filler.write_bytes(bytes(free - (4 << 20)))
    try:
        uuid = await lab.site.create(SMALL, image=lab.image())
        found = await lab.site.at_rest(uuid, "error", SECONDS)
        assert found.instance.fault
        assert found.instance.fault.message == NO_VALID_HOST
        assert "bytes free, the image has" in found.instance.fault.details
    finally:
        filler.unlink()
    await lab.site.delete(uuid)
    await lab.nothing_is_left(uuid)


async def test_an_image_whose_bytes_do_not_match(lab: Lab) -> None:
    uuid = await lab.site.create(SMALL, image=lab.image("2" * 64))
    found = await lab.site.at_rest(uuid, "error", SECONDS)
    assert found.instance.fault
    assert f"what was fetched does not match sha256:{'2' * 64}" in found.instance.fault.details
    assert list((lab.state / "images").iterdir()) == []
    await lab.site.delete(uuid)
    await lab.nothing_is_left(uuid)


async def test_a_guest_that_ignores_the_power_button(lab: Lab) -> None:
    """A stop gives it its time and then pulls the plug; a delete does so at once."""
    stopped, deleted = await asyncio.gather(lab.blank(), lab.blank())
    await lab.site.change(stopped, "stop")
    await lab.rest(stopped, "stopped")
    assert await lab.virsh("domstate", stopped) == "shut off"
    await lab.site.change(stopped, "start")
    await lab.rest(stopped, "active")
    await lab.site.change(stopped, "reboot", type="SOFT")
    await lab.rest(stopped, "active")
    assert await lab.virsh("domstate", stopped) == "running"
    await lab.site.change(stopped, "stop")  # a delete does not wait for it
    await asyncio.gather(lab.site.delete(stopped), lab.site.delete(deleted))
    await lab.nothing_is_left(stopped, deleted)


async def test_what_is_done_with_virsh_is_recorded(lab: Lab) -> None:
    uuid = await lab.blank()
    await lab.virsh("suspend", uuid)
    found = await lab.site.until(uuid, lambda f: f.instance.power_state == PowerState.PAUSED, SECONDS)
    assert (found.instance.vm_state, found.instance.task_state) == ("active", None)
    await lab.virsh("resume", uuid)
    await lab.site.until(uuid, lambda f: f.instance.power_state == PowerState.RUNNING, SECONDS)
    await lab.virsh("destroy", uuid)
    await lab.rest(uuid, "stopped")
    await lab.virsh("start", uuid)
    await lab.is_now(uuid, "running")
    await lab.is_now(uuid, "shut off")
    await lab.rest(uuid, "stopped")

    # Not by our hand: a domain without a mark stays, one with our mark that no record knows goes.
    xml = (await lab.virsh("dumpxml", uuid)).replace(uuid, unknown := str(uuid4()))
    xml = xml.replace(f"instance-{uuid[:8]}", "unknown").replace("<mac address='fa", "<mac address='fe")
    (lab.images / "unknown.xml").write_text(xml)
    foreign = str(uuid4())
    (lab.images / "foreign.xml").write_text(
        f"<domain type='qemu'><name>foreign</name><uuid>{foreign}</uuid><memory unit='MiB'>32</memory>"
        "<os><type arch='x86_64'>hvm</type></os></domain>"
    )
    for name in ("unknown", "foreign"):
        await lab.virsh("define", str(lab.images / f"{name}.xml"))
    assert await lab.virsh("domstate", unknown) == "shut off"
    await lab.is_now(unknown, "")
    assert await lab.virsh("domstate", foreign) == "shut off"
    await lab.virsh("undefine", foreign)

    await lab.virsh("undefine", uuid)
    await lab.rest(uuid, "error")
    fault = (await lab.site.at_rest(uuid, "error")).instance.fault
    assert fault
    assert fault.details == MISSING
    await lab.site.delete(uuid)
    await lab.nothing_is_left(uuid)


@pytest.mark.storm
async def test_libvirtd_killed_while_guests_run_and_while_one_is_made(lab: Lab) -> None:
    running = await lab.blank()
    lab.libvirt.kill_daemon()
    made = await lab.site.create(SMALL, image=lab.image())
    await lab.site.until(made, lambda f: f.instance.task_state == "spawning", SECONDS)
    await asyncio.to_thread(lab.libvirt.start_daemon)
    await lab.rest(made, "active")
    for wait in (0.1, 0.4):
        uuid = await lab.site.create(SMALL, image=lab.image())
        await asyncio.sleep(wait)
        lab.libvirt.kill_daemon()
        await asyncio.to_thread(lab.libvirt.start_daemon)
        await lab.rest(uuid, "active")
        await lab.site.delete(uuid)
    assert await lab.virsh("domstate", running) == "running"
    await lab.site.change(running, "stop")
    lab.libvirt.kill_daemon()
    await asyncio.to_thread(lab.libvirt.start_daemon)
    await lab.rest(running, "stopped")
    await asyncio.gather(*map(lab.site.delete, (running, made)))
    await lab.nothing_is_left(running, made)


@pytest.mark.storm
async def test_the_agent_killed_in_the_middle_of_each_step(lab: Lab) -> None:
    uuid = await lab.site.create(SMALL, image=lab.image())
    steps = (
        ("", "active", "running"),
        ("pause", "paused", "paused"),
        ("unpause", "active", "running"),
        ("suspend", "suspended", "shut off"),
        ("resume", "active", "running"),
        ("reboot", "active", "running"),
        ("stop", "stopped", "shut off"),
        ("start", "active", "running"),
    )
    operation = Cell.OPERATIONS(shard_of(uuid), uuid)

    async def accepted() -> bool:
        return await lab.site.top.cells.store("cell1").get(operation) is not None

    for n, (action, vm_state, domain) in enumerate(steps):
        if action:
            await lab.site.change(uuid, action, **({"type": "SOFT"} if action == "reboot" else {}))
        else:
            await eventually(accepted, SECONDS)
        await asyncio.sleep(0.05 * (n % 4))
        lab.agent.kill()
        await lab.agent.start()
        await lab.rest(uuid, vm_state)
        await lab.is_now(uuid, domain)
    await lab.site.delete(uuid)
    lab.agent.kill()
    await lab.agent.start()
    await lab.nothing_is_left(uuid)


@pytest.mark.parametrize("seconds", [3, pytest.param(30, marks=pytest.mark.storm)])
async def test_the_bus_is_gone_for_a_while(lab: Lab, seconds: float) -> None:
    """Guests run on; what was asked for meanwhile, and what they did meanwhile, is there afterwards."""
    kept, shut, deleted = await asyncio.gather(lab.blank(), lab.blank(), lab.blank())
    lab.nats.kill()
    await lab.virsh("destroy", shut)
    await lab.site.delete(deleted)
    await lab.site.change(kept, "stop")
    await asyncio.sleep(seconds)
    assert await lab.virsh("domstate", kept) == "running"
    lab.nats.start()
    await lab.rest(shut, "stopped")
    found = await lab.site.until(kept, lambda f: f.instance.task_state is None, SECONDS)
    if found.instance.vm_state == "active":  # its host counted as down
        assert found.instance.fault
        await eventually(lambda: asyncio.to_thread(lab.agent.ready), SECONDS)
        await lab.site.change(kept, "stop")
    await lab.rest(kept, "stopped")
    await asyncio.gather(*map(lab.site.delete, (kept, shut)))
    await lab.nothing_is_left(kept, shut, deleted)
