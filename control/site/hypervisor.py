"""libvirt for the site: that it can be used, that it runs, which of its guests are ours."""

import importlib.util
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from control.site.errors import SiteError
from control.site.foreground import tied
from control.site.parts import LIBVIRT
from control.site.processes import Processes

SCRIPTS = Path(__file__).parent / "scripts"
START_SECONDS = 60.0
BUILD_SECONDS = 300.0


def require_libvirt() -> None:
    """Raises SiteError with what is missing for real guests."""
    if importlib.util.find_spec("libvirt") is None or shutil.which("virsh") is None:
        raise SiteError(
            "real guests need libvirt and its Python binding: run `just install` as root, or have simulated ones: "
            "just up --driver simulated --hosts 50"
        )


def start_libvirt(pids: Path, processes: Processes, say: Callable[[str], None]) -> None:
    """Leaves a libvirtd that answers alone; what had to be started is the site's to stop."""
    pids.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    before = {role for role in LIBVIRT if processes.find(role)}
    done = subprocess.run(
        [SCRIPTS / "start-libvirt", pids], capture_output=True, text=True, timeout=START_SECONDS, check=False
    )
    for line in done.stderr.splitlines():
        say(line)
    if done.returncode:
        hint = "" if os.geteuid() == 0 else "; without root: just up --driver simulated --hosts 50"
        raise SiteError(f"libvirt cannot be used{hint}")
    for role in LIBVIRT:
        file = pids / f"{role}.pid"
        if file.exists() and role not in before:
            processes.adopt(role, int(file.read_text()))
            say(f"{role} is ready ({time.monotonic() - began:.1f} s)")


def build_guest(out: Path) -> Path:
    """The test guest's disk; made once."""
    command = tied([SCRIPTS / "build-guest", out])
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise SiteError(
            f"the test guest was not built within {BUILD_SECONDS:g} s, most of which is apt's download of a kernel; "
            f"its log is {out / 'work' / 'apt.log'}"
        ) from error
    if done.returncode:
        raise SiteError(f"the test guest cannot be built: {done.stderr.strip()}")
    return out / "guest.qcow2"


def guests_running(state_dir: Path, proc: Path = Path("/proc")) -> int:
    """QEMU processes whose disks lie in the agent's directory."""
    needle = os.fsencode(f"{state_dir}/")
    return sum(
        needle in line and b"qemu" in line.partition(b"\0")[0]
        for process in proc.iterdir()
        if process.name.isdigit()
        for line in [_command_line(process)]
    )


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""
