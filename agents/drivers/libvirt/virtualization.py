"""Whether this host can run guests with KVM, found out by running one.

/dev/kvm alone proves little: in nested and container environments it may be there, create virtual machines, and yet
fail at a guest's first instructions. So a guest of one sector is booted that powers itself off through a debug port.
"""

import asyncio
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Final, Literal

import structlog

from agents.drivers.libvirt.waiting import in_thread
from schemas.settings import LibvirtSettings

log = structlog.get_logger()

_EXIT_PORT: Final = 0xF4
_CODE: Final = 0x10
_BOOT_SECTOR: Final = bytes([0xB0, _CODE, 0xE6, _EXIT_PORT, 0xF4]).ljust(510, b"\0") + b"\x55\xaa"
"""mov al, code; out port, al; hlt"""
_EXIT_STATUS: Final = _CODE << 1 | 1
"""how isa-debug-exit ends QEMU"""
_PATIENCE: Final = 5.0
"""seconds; a KVM that works needs a tenth of one"""


async def domain_type(settings: LibvirtSettings) -> Literal["kvm", "qemu"]:
    if settings.domain_type != "auto":
        return settings.domain_type
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        log.info("guests are emulated: there is no /dev/kvm for us")
        return "qemu"
    if not await guest_runs("kvm"):
        log.warning("guests are emulated: /dev/kvm is there, but a guest did not run with it")
        return "qemu"
    return "kvm"


async def guest_runs(accelerator: str) -> bool:
    with tempfile.TemporaryDirectory(prefix="kilonova-kvm-") as directory:
        floppy = Path(directory, "floppy")
        await in_thread(partial(floppy.write_bytes, _BOOT_SECTOR))
        try:
            process = await asyncio.create_subprocess_exec(
                "qemu-system-x86_64",
                *("-nodefaults", "-display", "none", "-m", "16", "-machine", f"pc,accel={accelerator}"),
                *("-device", f"isa-debug-exit,iobase={_EXIT_PORT},iosize=4"),
                *("-drive", f"file={floppy},format=raw,if=floppy,readonly=on"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError:
            return False
        try:
            async with asyncio.timeout(_PATIENCE):
                return await process.wait() == _EXIT_STATUS
        except TimeoutError:
            return False
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
