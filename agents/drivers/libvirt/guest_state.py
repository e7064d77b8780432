"""What libvirt says of a domain, as a GuestState. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final
from xml.etree.ElementTree import Element

from attrs import evolve, frozen

from agents.drivers.libvirt.metadata import GuestLabel, read_label
from schemas.guest import Address, GuestState, PowerState

POWER_STATES: Final[Mapping[int, int]] = {
    0: PowerState.NOSTATE,
    1: PowerState.RUNNING,
    2: PowerState.RUNNING,  # blocked on a resource
    3: PowerState.PAUSED,
    4: PowerState.SHUTDOWN,  # being shut down
    5: PowerState.SHUTDOWN,
    6: PowerState.CRASHED,
    7: PowerState.SUSPENDED,
}
"""virDomainState -> Nova's power state, as Nova maps it"""

STOPPED: Final = "the hypervisor stopped the guest, for which libvirt names no reason"
"""as it is after a KVM internal error"""
HALTED: Final[Mapping[tuple[int, int], str]] = {
    (3, 0): STOPPED,
    (3, 5): "the hypervisor stopped the guest after an I/O error",
    (3, 6): "the guest's watchdog stopped it",
    (3, 10): "the guest's kernel panicked",
    (3, 13): "the guest's migration failed",
    (3, 14): "libvirt stopped the guest after an error",
    (5, 3): "the guest's hypervisor process ended",
    (6, 0): "the guest crashed",
    (6, 1): "the guest's kernel panicked",
}
"""(virDomainState, its reason) -> what happened, where nobody asked for it: paused, shut off and crashed"""

_BEGINS: Final = "starting up"
"""in the line of QEMU's log with which libvirt heads a start"""
_PREFACE: Final = ("char device redirected", "is tainted: ")
_WORDS_LINES: Final = 12
_WORDS_LENGTH: Final = 1200
_SIGNS: Final = ("error", "fail", "abort", "terminat", "denied", "no space", "panic", "fatal")

Leases = Mapping[str, Sequence[str]]
"""lower-case MAC -> its IPv4 addresses"""


@frozen
class SeenGuest:
    state: GuestState
    awaits_address: bool
    """it runs and an interface of it has no lease yet"""


def seen_guest(domain: Element, libvirt_state: int, leases: Leases, host_ip: str, halted: str = "") -> SeenGuest:
    """`halted` is what a guest's state is to say of that."""
    label = read_label(domain)
    state = GuestState(
        server=domain.findtext("uuid", ""),
        power_state=POWER_STATES.get(libvirt_state, PowerState.NOSTATE),
        mark=label.mark if label else None,
        addresses=_addresses(label, leases) if label else (),
        vnc=_vnc(domain, host_ip),
        halted=halted,
    )
    nics = {nic.mac.lower() for nic in label.nics} if label else set()
    return SeenGuest(state, state.power_state == PowerState.RUNNING and not nics <= leases.keys())


def halt_reason(what: str, log: str) -> str:
    """What happened, and the end of QEMU's log since the guest's last start from the first line on that names an error;
    the first line says the most."""
    lines = [line.strip() for line in log.splitlines()]
    began = max((n for n, line in enumerate(lines) if _BEGINS in line), default=-1)
    said = [line for line in lines[began + 1 :] if line and not _is_preface(line)]
    first = next((n for n, line in enumerate(said) if any(sign in line.lower() for sign in _SIGNS)), None)
    words = said[-3:] if first is None else said[first : first + _WORDS_LINES]
    return ": ".join([what, "\n".join(words)] if words else [what])[:_WORDS_LENGTH]


def _is_preface(line: str) -> bool:
    """Whether it is of each start: the environment and the command line, and what libvirt notes of them."""
    return line.endswith("\\") or line.startswith("-") or any(sign in line for sign in _PREFACE)


def changes(before: Mapping[str, GuestState], now: Mapping[str, GuestState]) -> list[GuestState]:
    """What to report: guests whose power state, addresses, VNC or halt differ, and as NOSTATE those that are gone."""
    changed = [state for server, state in now.items() if _visible(before.get(server)) != _visible(state)]
    gone = [
        evolve(state, power_state=PowerState.NOSTATE, vnc=None, halted="")
        for server, state in before.items()
        if server not in now
    ]
    return changed + gone


def _visible(state: GuestState | None) -> tuple[object, ...]:
    return (state.power_state, state.addresses, state.vnc, state.halted) if state else ()


def _addresses(label: GuestLabel, leases: Leases) -> tuple[Address, ...]:
    return tuple(Address(nic.network, nic.mac, ip) for nic in label.nics for ip in leases.get(nic.mac.lower(), ()))


def _vnc(domain: Element, host_ip: str) -> str | None:
    graphics = domain.find("devices/graphics[@type='vnc']")
    if graphics is None or int(graphics.get("port", "-1")) <= 0:
        return None
    listen = graphics.get("listen", "127.0.0.1")
    return f"{host_ip if listen in ('0.0.0.0', '::') else listen}:{graphics.get('port')}"
