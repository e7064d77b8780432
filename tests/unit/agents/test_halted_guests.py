"""What libvirt and QEMU's log say of a guest that the hypervisor stopped without being asked."""

import pytest

pytest.importorskip("libvirt")

import libvirt

from agents.drivers.libvirt.guest_state import HALTED, STOPPED, changes, halt_reason
from schemas.guest import GuestState, PowerState

START = """\
2026-12-01 01:44:51.292+0000: starting up libvirt version: 9.0.0, hostname: vm
LC_ALL=C \\
PATH=/usr/bin \\
/usr/bin/qemu-system-x86_64 \\
-name guest=instance-743ed9,debug-threads=on \\
-msg timestamp=on
2026-12-01 01:44:51.292+0000: Domain id=3 is tainted: high-privileges
char device redirected to /dev/pts/0 (label charserial0)
"""
ERROR = "KVM internal error. Suberror: 1\nemulation failure\nEAX=00000010 EBX=00000000\n"


def test_the_hypervisors_words_begin_with_the_error() -> None:
    assert halt_reason("stopped", START + ERROR).splitlines() == [
        "stopped: KVM internal error. Suberror: 1",
        "emulation failure",
        "EAX=00000010 EBX=00000000",
    ]


def test_what_was_said_before_the_last_start_is_left_out() -> None:
    assert "Suberror" not in halt_reason("stopped", START + ERROR + START)
    assert halt_reason("stopped", START.partition("2026-12-01 01:44:51.292+0000: Domain")[0]) == "stopped"
    assert halt_reason("stopped", START) == halt_reason("stopped", "") == "stopped"


def test_a_long_register_dump_is_cut() -> None:
    assert len(halt_reason("stopped", START + ERROR + "EIP=0\n" * 100_000)) <= 1200


@pytest.mark.parametrize(
    ("state", "reason", "is_halt"),
    [
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_UNKNOWN, True),
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR, True),
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_CRASHED, True),
        (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_CRASHED, True),
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER, False),
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP, False),
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_SAVE, False),
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION, False),
        (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN, False),
        (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED, False),
    ],
)
def test_only_pausing_and_ending_that_nobody_asked_for_is_a_halt(state: int, reason: int, is_halt: bool) -> None:
    assert ((state, reason) in HALTED) is is_halt


def test_a_halt_is_a_change_though_the_power_state_is_the_same() -> None:
    before = GuestState("s", PowerState.PAUSED)
    after = GuestState("s", PowerState.PAUSED, halted=STOPPED)
    assert changes({"s": before}, {"s": after}) == [after]
    assert changes({"s": after}, {}) == [GuestState("s", PowerState.NOSTATE)]
