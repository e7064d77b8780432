"""A guest's directory: its disks, config drive and console log."""

import os
import secrets
import shutil
from functools import partial
from pathlib import Path
from typing import Final

from agents.drivers.libvirt.config_drive import config_drive
from agents.drivers.libvirt.domain_xml import GuestFiles
from agents.drivers.libvirt.images import ImageCache, full_disk_named, new_private_file
from agents.drivers.libvirt.iso import write_iso
from agents.drivers.libvirt.qcow2 import HEADER_BYTES, read_header
from agents.drivers.libvirt.waiting import in_thread, run_tool
from schemas.errors import HostError, ImageUnusable
from schemas.guest import GuestSpec, ImageGrant
from schemas.settings import LibvirtSettings

GIB: Final = 1 << 30
CONSOLE_LOG: Final = "console.log"
_BASE: Final = "base"
"""the guest's own link to its image"""


async def make_files(spec: GuestSpec, images: ImageCache, settings: LibvirtSettings) -> GuestFiles:
    """All that the guest needs on disk, from scratch. Raises HostFull, ImageUnusable, HostError."""
    directory = settings.guest_dir(spec.mark.server)
    with full_disk_named(settings.state_dir):
        await in_thread(lambda: _fresh(directory))
        root = await _root_disk(spec, directory, images, settings)
        ephemeral = swap = drive = None
        if spec.ephemeral_gb:
            ephemeral = directory / "disk.eph0"
            await in_thread(partial(_sparse, ephemeral, spec.ephemeral_gb * GIB))
            if settings.ephemeral_mkfs:
                await run_tool((*settings.ephemeral_mkfs, str(ephemeral)), settings.call_timeout)
        if spec.swap_mb:
            swap = directory / "disk.swap"
            await in_thread(partial(_sparse, swap, spec.swap_mb << 20))
            await run_tool(("mkswap", str(swap)), settings.call_timeout)
        if spec.config_drive:
            drive = directory / "disk.config"
            tree = config_drive(spec, secrets.token_bytes(512), settings.dhcp_domain)
            await in_thread(partial(write_iso, tree, "config-2", drive))
    return GuestFiles(root, ephemeral, swap, drive, directory / CONSOLE_LOG)


def remove_files(directory: Path) -> None:
    """Blocking; nothing there is fine. Raises HostError when something stays."""
    failure: OSError | None = None
    for _ in range(3):  # virtlogd may turn over the console's log at this moment
        if not directory.exists():
            return
        try:
            shutil.rmtree(directory)
        except OSError as error:
            failure = error
    if directory.exists():
        raise HostError(f"{directory} cannot be removed: {failure}")


def has_direct_io(directory: Path) -> bool:
    """Whether QEMU may bypass the page cache there. Blocking."""
    probe = directory / f".direct-io-{os.getpid()}"
    try:
        os.close(os.open(probe, os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o600))
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)
    return True


async def _root_disk(spec: GuestSpec, directory: Path, images: ImageCache, settings: LibvirtSettings) -> Path:
    """An overlay over the image, as large as the flavor says or, where that is 0, as the image."""
    root = directory / "disk"
    command = ["qemu-img", "create", "-q", "-f", "qcow2"]
    size = spec.root_gb * GIB
    if spec.image is not None:
        base = directory / _BASE
        await images.link(spec.image, base)
        needed = await in_thread(partial(_virtual_size, base, spec.image))
        if size and needed > size:
            raise ImageUnusable(
                f"image {spec.image.id} needs a disk of {-(-needed // GIB)} GiB, the flavor has {spec.root_gb} GiB"
            )
        # Relative to the overlay, so that the directory can move.
        command += ["-F", spec.image.disk_format, "-b", _BASE]
        size = size or needed
    await in_thread(lambda: new_private_file(root).close())  # qemu-img keeps the mode of a file that is there
    await run_tool([*command, str(root), str(size or GIB)], settings.call_timeout)
    return root


def _virtual_size(path: Path, image: ImageGrant) -> int:
    if image.disk_format == "raw":
        return path.stat().st_size
    with path.open("rb") as file:
        return read_header(file.read(HEADER_BYTES)).virtual_size


def _fresh(directory: Path) -> None:
    remove_files(directory)
    directory.mkdir(mode=0o711, parents=True)


def _sparse(path: Path, size: int) -> None:
    with new_private_file(path) as file:
        file.truncate(size)
