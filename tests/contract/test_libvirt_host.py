"""What only the libvirt driver does on a host: extra disks, full disks, dangerous images, a libvirtd in trouble."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import pytest
from attrs import evolve
from driver_labs import LibvirtLab, SocketProxy, console_shows, new_spec, small_disk

from agents.drivers.devices import device_specs
from schemas.errors import HostFull, HypervisorDown, ImageUnusable

pytestmark = pytest.mark.guest


@pytest.fixture
async def lab(libvirt_guest: Path, tmp_path: Path) -> AsyncIterator[LibvirtLab]:
    made = LibvirtLab(tmp_path, libvirt_guest)
    yield made
    await made.close()


def output_of(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


async def test_disks_as_the_flavor_says(lab: LibvirtLab) -> None:
    driver = await lab.driver()
    spec = new_spec(lab.image(), root_gb=2, ephemeral_gb=1, swap_mb=64, nics=())
    await driver.spawn(spec)
    directory = lab.state_dir / "guests" / spec.mark.server

    def type_of(name: str) -> str:
        return output_of("blkid", "-p", "-o", "value", "-s", "TYPE", directory / name)

    assert (type_of("disk.eph0"), type_of("disk.swap"), type_of("disk.config")) == ("ext4\n", "swap\n", "iso9660\n")
    shown = await console_shows(driver, spec.mark.server, "GUEST-CONFIGDRIVE")
    assert "GUEST-DISK /dev/sr0" in shown
    assert "virtual size: 2 GiB" in output_of("qemu-img", "info", "-U", directory / "disk")


async def test_what_tenants_keep_on_a_host_is_for_its_owner_alone(lab: LibvirtLab) -> None:
    """Overlays and images had the umask's mode: every user of the host could read every tenant's disk."""
    before = os.umask(0o022)
    try:
        driver = await lab.driver()
        spec = new_spec(lab.image(), root_gb=2, ephemeral_gb=1, swap_mb=64, nics=())
        await driver.spawn(spec)
    finally:
        os.umask(before)
    directory = lab.state_dir / "guests" / spec.mark.server
    files = {path.name: oct(path.stat().st_mode & 0o777) for path in directory.iterdir()}
    assert files.keys() >= {"disk", "disk.eph0", "disk.swap", "disk.config", "base", "console.log"}
    assert set(files.values()) == {"0o600"}, files
    assert directory.stat().st_mode & 0o777 == 0o711
    assert (lab.state_dir / "images").stat().st_mode & 0o777 == 0o700


async def test_a_root_disk_of_0_is_as_large_as_the_image(lab: LibvirtLab) -> None:
    driver = await lab.driver()
    spec = new_spec(lab.image(), root_gb=0, nics=())
    await driver.spawn(spec)


@pytest.mark.parametrize("spare_kib", [40, 250], ids=["no room for the overlay", "no room for the config drive"])
async def test_a_disk_that_fills_up_after_the_image(lab: LibvirtLab, spare_kib: int) -> None:
    image = lab.image()
    disk = lab.directory / "small"
    with small_disk(disk, megabytes=image.size // (1 << 20) + 2):
        driver = await lab.driver(state_dir=disk)
        free = os.statvfs(disk)
        filler = free.f_bavail * free.f_frsize - image.size - spare_kib * 1024
        (disk / "filler").write_bytes(bytes(filler))
        spec = new_spec(image)
        with pytest.raises(HostFull):
            await driver.spawn(spec)
        assert list((disk / "guests").iterdir()) == []
        assert not list((disk / "images").glob("*.part"))


async def test_an_image_that_names_another_file_never_reaches_qemu(lab: LibvirtLab, tmp_path: Path) -> None:
    trap = tmp_path / "web" / "trap.qcow2"
    trap.parent.mkdir()
    output_of("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "/etc/hostname", trap)
    evil = LibvirtLab(tmp_path, trap)
    driver = await lab.driver()
    spec = new_spec(evil.image())
    with pytest.raises(ImageUnusable, match="backing file"):
        await driver.spawn(spec)
    assert lab.leftovers(spec.mark.server) == []
    evil.server.shutdown()


async def test_an_image_larger_than_the_flavors_disk(lab: LibvirtLab, tmp_path: Path) -> None:
    large = tmp_path / "web" / "large.qcow2"
    large.parent.mkdir()
    output_of("qemu-img", "create", "-q", "-f", "qcow2", large, "3G")
    server = LibvirtLab(tmp_path, large)
    driver = await lab.driver()
    with pytest.raises(ImageUnusable, match="3 GiB"):
        await driver.spawn(new_spec(server.image(), root_gb=2))
    server.server.shutdown()


async def test_no_libvirtd_at_the_start(lab: LibvirtLab) -> None:
    with pytest.raises(HypervisorDown, match="nothing"):
        await lab.driver(uri=f"qemu+unix:///system?socket={lab.directory}/nothing", call_timeout=0.5)


async def test_a_silent_libvirtd_is_given_up_within_seconds(lab: LibvirtLab) -> None:
    """As when it is stopped by a signal: the connection stays, no answer comes, and only keepalive tells."""
    proxy = SocketProxy(lab.directory / "libvirt.sock", Path("/run/libvirt/libvirt-sock"))
    await proxy.end()
    driver = await lab.driver(uri=f"qemu+unix:///system?socket={proxy.path}", keepalive_seconds=1)
    proxy.silent = True
    began = monotonic()
    with pytest.raises(HypervisorDown):
        await driver.guests()
    assert monotonic() - began < 30
    proxy.silent = False
    await proxy.begin()


async def test_a_guest_on_a_bridge_of_the_host(lab: LibvirtLab) -> None:
    await lab.driver()  # makes the NAT network, whose bridge serves here as the host's own
    driver = await lab.driver(network="bridge", bridge="kilonova0")
    spec = new_spec()
    assert (await driver.spawn(spec)).power_state == 1
    assert (await driver.spawn(evolve(spec, mark=evolve(spec.mark, generation=2)))).power_state == 1


async def test_a_screen_and_counters(lab: LibvirtLab) -> None:
    driver = await lab.driver()
    spec = new_spec(lab.image())
    server = spec.mark.server
    await driver.spawn(spec)
    await console_shows(driver, server, "GUEST-BOOT")
    found = await driver.diagnostics(server)
    assert found.disks[0].read_bytes > 1 << 20
    assert found.disks[0].read_requests > 0
    assert [disk.device for disk in found.disks] == ["vda", "hda"]
    assert found.cpus[0].time > 0
    assert found.nics[0].device.startswith("vnet")
    assert found.memory_stats["actual"] == 192 * 1024

    host, port = ((await driver.guest(server)).vnc or "").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    assert (await reader.readexactly(4)) == b"RFB "
    writer.close()


async def test_the_probe_runs_where_guests_do() -> None:
    """Emulation runs all that the probe asks for; of an accelerator that QEMU does not know its words are kept."""
    from agents.drivers.libvirt.virtualization import Probed, probe

    assert await probe("tcg") == Probed(True)
    unknown = await probe("none")
    assert (unknown.runs, unknown.final) == (False, True)
    assert "invalid accelerator none" in unknown.words


async def test_devices_that_may_be_passed_through(lab: LibvirtLab) -> None:
    """Every machine has some on its PCI bus, if only a bridge."""
    assert (await (await lab.driver()).facts()).pci == ()
    found = (await (await lab.driver(devices=device_specs(["{}"]))).facts()).pci
    assert sum(pool.free for pool in found) == len(output_of("virsh", "nodedev-list", "--cap", "pci").split())
    one = found[0]
    same = device_specs([f'{{"vendor_id": "{one.vendor_id}", "product_id": "{one.product_id}"}}'])
    assert one in (await (await lab.driver(devices=same)).facts()).pci
