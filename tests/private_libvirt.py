"""A libvirtd of a test's own, in mount and network namespaces: it may be killed: the machine's own serves others."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

READY_SECONDS: Final = 30.0

_QEMU_CONF: Final = """\
security_driver = "none"
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
cgroup_controllers = []
namespaces = []
stdio_handler = "logd"
"""
_LIBVIRTD_CONF: Final = """\
host_uuid = "{uuid}"
auth_unix_rw = "none"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""
_DIRECTORIES: Final = {"etc": "/etc/libvirt", "run": "/run/libvirt", "log": "/var/log/libvirt"} | {
    "lib": "/var/lib/libvirt",
    "cache": "/var/cache/libvirt",
}
"""our directory -> where libvirt looks for it"""


class PrivateLibvirt:
    """Needs root. `directory` must not be long: it holds sockets. Guests' own files may lie anywhere."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._holder: subprocess.Popen[bytes] | None = None
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def uri(self) -> str:
        return f"qemu+unix:///system?socket={self._directory}/run/libvirt-sock"

    def start(self) -> None:
        """Returns when libvirtd answers."""
        binds = ["ip link set lo up"]
        for name, place in _DIRECTORIES.items():
            (self._directory / name).mkdir(parents=True)
            binds.append(f"mkdir -p {place}; mount --bind {self._directory / name} {place}")
        (self._directory / "lib" / "qemu").mkdir()
        (self._directory / "etc" / "qemu.conf").write_text(_QEMU_CONF)
        uuid = f"00000000-0000-4000-8000-{os.getpid():012d}"
        (self._directory / "etc" / "libvirtd.conf").write_text(_LIBVIRTD_CONF.format(uuid=uuid))
        ready = self._directory / "ready"
        script = "set -e; " + "; ".join(binds) + f"; touch {ready}; exec sleep infinity"
        self._holder = subprocess.Popen(["unshare", "-m", "-n", "--propagation", "private", "sh", "-c", script])
        _until(ready.exists, "the namespaces")
        self._daemon("virtlogd")
        self.start_daemon()

    def start_daemon(self) -> None:
        self._daemon("libvirtd")
        _until(lambda: self.virsh("uri").returncode == 0, "libvirtd")

    def kill_daemon(self) -> None:
        """As kill -9: guests go on."""
        libvirtd = self._daemons.pop("libvirtd")
        libvirtd.kill()
        libvirtd.wait()

    def virsh(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["virsh", "-q", "-c", self.uri, *arguments], capture_output=True, text=True, check=False)

    def stop(self) -> None:
        """Ends everything that runs in the namespaces, guests included."""
        if self._holder is None:
            return
        ours = os.readlink(f"/proc/{self._holder.pid}/ns/net")
        own = (*self._daemons.values(), self._holder)
        while found := [pid for pid in _processes_in(ours) if pid not in {process.pid for process in own}]:
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        for process in own:
            process.kill()
            process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _daemon(self, name: str) -> None:
        assert self._holder is not None
        inside = ["nsenter", "-t", str(self._holder.pid), "-m", "-n", name]
        self._daemons[name] = subprocess.Popen(
            [*inside, "-p", f"/run/libvirt/{name}.pid"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )


def _processes_in(namespace: str) -> list[int]:
    """Those that still live."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and os.readlink(process / "ns" / "net") == namespace:
                found.append(int(process.name))
    return found


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not come up within {READY_SECONDS:g} s")
        time.sleep(0.05)
