"""The program that says whether KVM works, and what is made of its end.

On a machine whose nested KVM ran a boot sector in real mode, but no `iret` in 32-bit protected mode without paging, the
first guest stopped in its boot loader with "KVM internal error. Suberror: 1", the server stayed ACTIVE, and the demo
failed. The probe runs what boot loaders and kernels run, and any failure within it means that guests are emulated.
"""

import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from attrs import evolve

pytest.importorskip("libvirt")

from agents.drivers.libvirt import kvm_probe, virtualization
from agents.drivers.libvirt.kvm_probe import BOOT_SECTOR, EXIT_STATUS, STAGES
from agents.drivers.libvirt.virtualization import KvmVerdict, Probed, Virtualization, verdict_of
from schemas.settings import LibvirtSettings

SOURCE = Path(kvm_probe.__file__).with_suffix(".s")
ALL = "".join(STAGES)
SUBERROR = "KVM internal error. Suberror: 1"


def test_the_bytes_are_what_the_source_assembles_to(tmp_path: Path) -> None:
    if not shutil.which("as") or not shutil.which("ld"):
        pytest.skip("needs binutils")
    object_file, sector = tmp_path / "probe.o", tmp_path / "probe"
    subprocess.run(["as", "--64", "-o", object_file, SOURCE], check=True)
    flags = ("-m", "elf_x86_64", "-Ttext=0x7c00", "--oformat", "binary")
    subprocess.run(["ld", *flags, "-o", sector, object_file], check=True)
    assembled = sector.read_bytes()
    assert assembled == BOOT_SECTOR, f"_CODE is to be {assembled[:510].rstrip(bytes(1)).hex()}"


def test_the_source_tells_of_every_stage() -> None:
    source = SOURCE.read_text()
    assert [letter for letter in STAGES if f"passed '{letter}'" in source] == list(STAGES)


@pytest.mark.parametrize(
    ("passed", "said", "status", "late", "expected"),
    [
        (ALL, "", EXIT_STATUS, False, Probed(True)),
        (ALL, "", 0, False, Probed(False, "it did not end as it must: QEMU ended with 0")),
        (
            "r",
            f"{SUBERROR}\nEAX=0\n",
            -9,
            False,
            Probed(False, f"it stopped at protected mode without paging: {SUBERROR}"),
        ),
        ("r", SUBERROR, -9, True, Probed(False, f"it stopped at protected mode without paging: {SUBERROR}")),
        ("rpb", "", 0, False, Probed(False, "it stopped at long mode with paging: QEMU ended with 0")),
        ("", "qemu: no\nqemu: yes", 1, False, Probed(False, "it stopped at real mode: qemu: yes")),
        (
            "rpbl",
            "",
            -9,
            True,
            Probed(False, "it stopped at an interrupt in long mode and had not come further after 5 s", final=False),
        ),
    ],
)
def test_what_the_end_of_the_probe_means(passed: str, said: str, status: int, late: bool, expected: Probed) -> None:
    assert verdict_of(passed, said, status, late) == expected


class Probes:
    """Answers in the place of QEMU, which decides elsewhere; counts how often it is asked."""

    def __init__(self, answer: Probed) -> None:
        self.answer, self.asked = answer, 0

    async def __call__(self) -> Probed:
        self.asked += 1
        return self.answer


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> Probes:
    made = Probes(Probed(True))
    monkeypatch.setattr(virtualization, "probe_kvm", made)
    monkeypatch.setattr(virtualization.os, "access", lambda _path, _mode: True)
    return made


async def test_the_verdict_is_kept_for_this_boot_kernel_and_qemu(
    probes: Probes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = LibvirtSettings(state_dir=tmp_path)
    assert await KvmVerdict(settings).find() == Virtualization("kvm", "runs")
    assert (await KvmVerdict(settings).find()).domain_type == "kvm"
    assert probes.asked == 1

    monkeypatch.setattr(virtualization, "host_mark", lambda: "another kernel")
    probes.answer = Probed(False, "it stopped")
    assert await KvmVerdict(settings).find() == Virtualization("qemu", "fails")
    assert await KvmVerdict(settings).find() == Virtualization("qemu", "fails")
    assert probes.asked == 2


async def test_a_probe_that_an_overloaded_machine_did_not_let_through_is_repeated(
    probes: Probes, tmp_path: Path
) -> None:
    settings = LibvirtSettings(state_dir=tmp_path)
    probes.answer = Probed(False, "late", final=False)
    assert (await KvmVerdict(settings).find()).domain_type == "qemu"
    probes.answer = Probed(True)
    assert (await KvmVerdict(settings).find()).domain_type == "kvm"


async def test_a_damaged_verdict_is_found_out_again(probes: Probes, tmp_path: Path) -> None:
    (tmp_path / "kvm.json").write_text("{")
    assert (await KvmVerdict(LibvirtSettings(state_dir=tmp_path)).find()).domain_type == "kvm"


async def test_a_host_whose_kvm_stops_its_first_guest_emulates_and_says_so(probes: Probes, tmp_path: Path) -> None:
    """Also after the agent's next start; and where KVM was chosen by hand it takes no guest."""
    settings = LibvirtSettings(state_dir=tmp_path)
    kvm = KvmVerdict(settings)
    await kvm.find()
    await kvm.failed(SUBERROR)
    for now in (kvm.now, await KvmVerdict(settings).find()):
        assert (now.domain_type, now.takes_guests) == ("qemu", True)
        assert "guests are emulated" in now.trouble
        assert SUBERROR in now.trouble

    by_hand = await KvmVerdict(evolve(settings, domain_type="kvm")).find()
    assert (by_hand.domain_type, by_hand.takes_guests) == ("kvm", False)
    assert "no guest is taken" in by_hand.trouble
    assert probes.asked == 1


async def test_a_host_that_has_run_a_guest_keeps_that_for_its_next_start(probes: Probes, tmp_path: Path) -> None:
    settings = LibvirtSettings(state_dir=tmp_path)
    kvm = KvmVerdict(settings)
    await kvm.find()
    await kvm.proven()
    assert (await KvmVerdict(settings).find()).verdict == "proven"
    assert stat.S_IMODE((tmp_path / "kvm.json").stat().st_mode) & 0o022 == 0
