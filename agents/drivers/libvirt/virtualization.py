"""Whether this host can run guests with KVM, found out by running one.

/dev/kvm alone proves little: in nested and container environments it may be there, create virtual machines, and yet
fail where a boot loader or a kernel changes the processor's mode. So a guest of one sector is booted that goes through
all of these modes (kvm_probe.s). Its verdict is kept for as long as the machine, its kernel and its QEMU are the same.
Where it runs out of time, emulation runs the same sector: a KVM that is slower than that is of no use, and if neither
gets through, the machine is overloaded and the probe is repeated at the agent's next start.
"""

import asyncio
import contextlib
import hashlib
import os
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Final, Literal

import orjson
import structlog
from attrs import evolve, frozen

from agents.drivers.libvirt.kvm_probe import BOOT_SECTOR, CONSOLE_PORT, EXIT_PORT, EXIT_STATUS, STAGES
from agents.drivers.libvirt.waiting import in_thread
from schemas.settings import LibvirtSettings

log = structlog.get_logger()

QEMU: Final = "qemu-system-x86_64"
PROBE_SECONDS: Final = 5.0
"""a KVM that works needs a quarter of one; the program waits for one tick of the timer"""
_FATAL: Final = ("KVM internal error", "kvm run failed", "failed to initialize kvm", "Could not access KVM")
"""QEMU stays, stopped, after the first two"""
_KEPT: Final = 4096
"""bytes of each output that are looked at"""

DomainType = Literal["kvm", "qemu"]
Verdict = Literal["unknown", "runs", "proven", "fails"]
"""of KVM on this host. runs: the probe did; proven: a guest did too, so that one that is stopped later is that guest's
own affair (guests can bring it about); fails: the probe or the first guest was stopped"""


@frozen
class Virtualization:
    """How guests are run. `trouble` says, with the hypervisor's own words, why KVM is not to be had although it was
    chosen or the probe had passed; empty: there is nothing to say."""

    domain_type: DomainType
    verdict: Verdict = "unknown"
    trouble: str = ""

    @property
    def takes_guests(self) -> bool:
        return self.domain_type == "qemu" or not self.trouble


@frozen
class Probed:
    """`words` say why it does not run; `final`: it would not run the next time either."""

    runs: bool
    words: str = ""
    final: bool = True


@frozen
class _Kept:
    """A verdict and the machine, kernel and QEMU that it is about."""

    host: str
    verdict: Verdict
    words: str = ""
    by_guest: bool = False


class KvmVerdict:
    """The host's verdict on KVM, in the agent's state directory."""

    def __init__(self, settings: LibvirtSettings) -> None:
        self._settings = settings
        self._file = settings.state_dir / "kvm.json"
        self.now = Virtualization("kvm" if settings.domain_type == "kvm" else "qemu")

    async def find(self) -> Virtualization:
        """Probes unless the verdict of this host is known. One line of the log says when guests are emulated."""
        chosen = self._settings.domain_type
        if chosen == "qemu":
            return self.now
        kept = await in_thread(self._read)
        if chosen == "auto" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
            log.info("guests are emulated", reason="there is no /dev/kvm that this user may open")
            return self.now
        if chosen == "auto" and kept.verdict == "unknown":
            probed = await probe_kvm()
            kept = evolve(kept, verdict="runs" if probed.runs else "fails", words=probed.words)
            if probed.final:
                await in_thread(partial(self._write, kept))
        self._conclude(kept)
        if self.now.domain_type == "qemu":
            log.warning("guests are emulated", reason=f"/dev/kvm is there but does not work: {kept.words}")
        return self.now

    async def proven(self) -> None:
        """A guest runs with KVM."""
        await self._keep("proven", "")

    async def failed(self, words: str) -> None:
        """KVM stopped the first guest that it was given: where it was not chosen by hand, guests are emulated now."""
        await self._keep("fails", words)
        log.error("KVM stopped its first guest", emulated=self.now.domain_type == "qemu", reason=words)

    async def _keep(self, verdict: Verdict, words: str) -> None:
        kept = evolve(await in_thread(self._read), verdict=verdict, words=words, by_guest=verdict == "fails")
        self._conclude(kept)
        with contextlib.suppress(OSError):  # as on a full disk: it is found out again at the next start
            await in_thread(partial(self._write, kept))

    def _conclude(self, kept: _Kept) -> None:
        by_hand = self._settings.domain_type == "kvm"
        use: DomainType = "kvm" if by_hand or kept.verdict in ("runs", "proven") else "qemu"
        trouble = ""
        if kept.verdict == "fails" and kept.by_guest:
            then = "no guest is taken, as domain_type is kvm" if by_hand else "guests are emulated"
            trouble = f"KVM stopped the first guest it was given, so {then}: {kept.words}"
        self.now = Virtualization(use, kept.verdict, trouble)

    def _read(self) -> _Kept:
        """What is known of this very host; `unknown` when nothing is."""
        host = host_mark()
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found = orjson.loads(self._file.read_bytes())
            if found["host"] == host:
                return _Kept(host, found["verdict"], found["words"], found["by_guest"])
        return _Kept(host, "unknown")

    def _write(self, kept: _Kept) -> None:
        part = self._file.with_suffix(".part")
        fields = {"host": kept.host, "verdict": kept.verdict, "words": kept.words, "by_guest": kept.by_guest}
        part.write_bytes(orjson.dumps(fields))
        os.replace(part, self._file)


def host_mark() -> str:
    """Another when the machine was booted, or has another kernel, QEMU or probe. Blocking."""
    program = shutil.which(QEMU) or ""
    parts = [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.uname().release, os.uname().version]
    if program:
        found = os.stat(program)
        parts += [os.path.realpath(program), str(found.st_mtime_ns), str(found.st_size)]
    return hashlib.sha256("\n".join(parts).encode() + BOOT_SECTOR).hexdigest()


async def probe_kvm() -> Probed:
    probed = await probe("kvm")
    if probed.final:
        return probed
    emulated = await probe("tcg")
    return evolve(probed, final=True, words=f"{probed.words}, unlike emulation") if emulated.runs else probed


async def probe(accelerator: str) -> Probed:
    """Boots the sector. Takes PROBE_SECONDS at most, and whatever happens its QEMU has ended then."""
    with tempfile.TemporaryDirectory(prefix="kilonova-kvm-") as directory:
        floppy = Path(directory, "floppy")
        await in_thread(partial(floppy.write_bytes, BOOT_SECTOR))
        try:
            process = await asyncio.create_subprocess_exec(
                QEMU,
                *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-m", "16"),
                *("-machine", f"pc,accel={accelerator}"),
                *("-device", f"isa-debug-exit,iobase={EXIT_PORT},iosize=4"),
                *("-chardev", "stdio,id=passed,signal=off"),
                *("-device", f"isa-debugcon,iobase={CONSOLE_PORT},chardev=passed"),
                *("-drive", f"file={floppy},format=raw,if=floppy,readonly=on"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            return Probed(False, f"{QEMU} cannot be run: {error.strerror}", final=False)
        passed, said = bytearray(), bytearray()
        late = False
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await _follow(process, passed, said)
        except TimeoutError:
            late = True
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
    return verdict_of(passed.decode("ascii", "replace"), said.decode(errors="replace"), process.returncode, late)


async def _follow(process: asyncio.subprocess.Process, passed: bytearray, said: bytearray) -> None:
    """Collects both outputs until the process ends, or says what it stays stopped after."""
    assert process.stdout is not None
    assert process.stderr is not None
    stuck = asyncio.Event()

    async def collect(stream: asyncio.StreamReader, into: bytearray) -> None:
        while chunk := await stream.read(_KEPT):
            into += chunk[: _KEPT - len(into)]
            if any(sign.encode() in said for sign in _FATAL):
                stuck.set()

    ended = [
        asyncio.create_task(process.wait(), name="probe ends"),
        asyncio.create_task(stuck.wait(), name="probe is stuck"),
    ]
    readers = [
        asyncio.create_task(collect(process.stdout, passed), name="probe's stages"),
        asyncio.create_task(collect(process.stderr, said), name="probe's words"),
    ]
    try:
        await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        if process.returncode is not None:
            await asyncio.wait(readers)
    finally:
        for task in (*ended, *readers):
            task.cancel()
        await asyncio.gather(*ended, *readers, return_exceptions=True)


def verdict_of(passed: str, said: str, status: int | None, late: bool) -> Probed:
    """What the probe's outputs and its end mean. Pure."""
    missing = next((stage for letter, stage in STAGES.items() if letter not in passed), None)
    if status == EXIT_STATUS and missing is None and not late:
        return Probed(True)
    fatal = next((line.strip() for line in said.splitlines() if any(sign in line for sign in _FATAL)), "")
    where = f"it stopped at {missing}" if missing else "it did not end as it must"
    if late and not fatal:
        return Probed(False, f"{where} and had not come further after {PROBE_SECONDS:g} s", final=False)
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), f"QEMU ended with {status}")
    return Probed(False, f"{where}: {(fatal or last)[:300]}")
