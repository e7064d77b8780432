"""What is read of a host: capabilities, memory, console logs; and waiting for threads."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import os_traits
import pytest

from agents.drivers.libvirt.capabilities import cpu_info, total_memory_mb, traits
from agents.drivers.libvirt.console import console_tail
from agents.drivers.libvirt.waiting import run_tool, settled
from schemas.errors import HostError

CAPABILITIES = """<capabilities><host>
 <cpu><arch>x86_64</arch><model>EPYC</model><vendor>AMD</vendor>
  <topology sockets='2' dies='1' cores='8' threads='2'/>
  <feature name='svm'/><feature name='aes'/><feature name='avx2'/><feature name='bmi1'/><feature name='clzero'/>
 </cpu>
 <topology><cells num='2'><cell id='0'/><cell id='1'/></cells></topology>
</host><guest/></capabilities>"""


def test_cpu_info_has_novas_shape() -> None:
    assert cpu_info(CAPABILITIES) == {
        "arch": "x86_64",
        "model": "EPYC",
        "vendor": "AMD",
        "features": ["aes", "avx2", "bmi1", "clzero", "svm"],
        "topology": {"cells": 2, "sockets": 2, "cores": 8, "threads": 2},
    }


def test_cpu_traits_only_where_the_guest_gets_that_cpu() -> None:
    cpu = cpu_info(CAPABILITIES)
    features = {"HW_CPU_X86_AESNI", "HW_CPU_X86_AVX2", "HW_CPU_X86_BMI", "HW_CPU_X86_SVM", "HW_CPU_X86_AMD_SVM"}
    kvm, emulated = traits(cpu, "kvm"), traits(cpu, "qemu")
    assert kvm - emulated == features
    assert {"COMPUTE_NODE", "COMPUTE_ARCH_X86_64", "HW_ARCH_X86_64"} <= emulated
    assert kvm <= set(os_traits.get_traits())


def test_memory_is_the_kernels_figure() -> None:
    assert total_memory_mb("MemTotal:       24684200 kB\nMemFree:         100 kB\n") == 24105
    with pytest.raises(ValueError, match="MemTotal"):
        total_memory_mb("MemFree: 1 kB\n")


@pytest.mark.parametrize(
    ("lines", "limit", "shown"),
    [
        (None, 100, "1\n2\n3\n4\n5\n6\n"),
        (2, 100, "5\n6\n"),
        (3, 100, "4\n5\n6\n"),
        (99, 100, "1\n2\n3\n4\n5\n6\n"),
        (0, 100, ""),
        (None, 6, "4\n5\n6\n"),
        (None, 2, "6\n"),
    ],
)
def test_the_tail_of_a_console_across_rotated_logs(tmp_path: Path, lines: int | None, limit: int, shown: str) -> None:
    for name, text in (("console.log.1", "1\n2\n"), ("console.log.0", "3\n4\n"), ("console.log", "5\n6\n")):
        (tmp_path / name).write_text(text)
    assert console_tail(tmp_path / "console.log", lines, limit) == shown


def test_no_console_yet(tmp_path: Path) -> None:
    assert console_tail(tmp_path / "console.log", 10, 100) == ""


async def test_cancellation_waits_for_a_thread_that_has_begun() -> None:
    """Else a destroy could run beside the define of the spawn that it cancelled, and the guest would come back."""
    begun, may_end, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        may_end.wait(5)
        done.set()

    with ThreadPoolExecutor(1) as pool:
        task = asyncio.create_task(settled(pool.submit(work), 5))
        queued = asyncio.create_task(settled(pool.submit(done.set), 5))
        await asyncio.to_thread(begun.wait, 5)
        queued.cancel()
        await asyncio.wait([queued], timeout=1)
        assert queued.cancelled(), "what has not begun is dropped at once"
        task.cancel()
        await asyncio.wait([task], timeout=0.1)
        assert not task.done()
        may_end.set()
        await asyncio.wait([task], timeout=2)
        assert task.cancelled()
        assert done.is_set()


async def test_a_tool_that_hangs_is_killed() -> None:
    with pytest.raises(HostError, match="longer"):
        await run_tool(("sleep", "60"), 0.05)


async def test_what_a_tool_complains_of_is_passed_on() -> None:
    with pytest.raises(HostError, match="nowhere"):
        await run_tool(("ls", "/nowhere"), 5)
    with pytest.raises(HostError, match="not installed"):
        await run_tool(("no-such-tool",), 5)
