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

Leases = Mapping[str, Sequence[str]]
"""lower-case MAC -> its IPv4 addresses"""


@frozen
class SeenGuest:
    state: GuestState
    awaits_address: bool
    """it runs and an interface of it has no lease yet"""


def seen_guest(domain: Element, libvirt_state: int, leases: Leases, host_ip: str) -> SeenGuest:
    label = read_label(domain)
    state = GuestState(
        server=domain.findtext("uuid", ""),
        power_state=POWER_STATES.get(libvirt_state, PowerState.NOSTATE),
        mark=label.mark if label else None,
        addresses=_addresses(label, leases) if label else (),
        vnc=_vnc(domain, host_ip),
    )
    nics = {nic.mac.lower() for nic in label.nics} if label else set()
    return SeenGuest(state, state.power_state == PowerState.RUNNING and not nics <= leases.keys())


def changes(before: Mapping[str, GuestState], now: Mapping[str, GuestState]) -> list[GuestState]:
    """What to report: guests whose power state, addresses or VNC differ, and as NOSTATE those that are gone."""
    changed = [state for server, state in now.items() if _visible(before.get(server)) != _visible(state)]
    gone = [
        evolve(state, power_state=PowerState.NOSTATE, vnc=None) for server, state in before.items() if server not in now
    ]
    return changed + gone


def _visible(state: GuestState | None) -> tuple[object, ...]:
    return (state.power_state, state.addresses, state.vnc) if state else ()


def _addresses(label: GuestLabel, leases: Leases) -> tuple[Address, ...]:
    return tuple(Address(nic.network, nic.mac, ip) for nic in label.nics for ip in leases.get(nic.mac.lower(), ()))


def _vnc(domain: Element, host_ip: str) -> str | None:
    graphics = domain.find("devices/graphics[@type='vnc']")
    if graphics is None or int(graphics.get("port", "-1")) <= 0:
        return None
    listen = graphics.get("listen", "127.0.0.1")
    return f"{host_ip if listen in ('0.0.0.0', '::') else listen}:{graphics.get('port')}"
