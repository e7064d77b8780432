"""Domains by libvirt: blocking functions of a connection, run in its threads. Each may be repeated at any time."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import libvirt
from attrs import evolve

from agents.drivers.libvirt.guest_state import HALTED, Leases, SeenGuest, halt_reason, seen_guest
from agents.drivers.libvirt.metadata import NAMESPACE, PREFIX, GuestLabel, label_xml, read_label
from agents.drivers.libvirt.node_devices import addresses_in
from schemas.errors import GuestNotFound, HostError
from schemas.guest import GuestMark

_UNDEFINE: Final = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)
_QEMU_LOGS: Final = Path("/var/log/libvirt/qemu")
_QEMU_LOG_BYTES: Final = 16384
_KILL_ATTEMPTS: Final = 3
"""QEMU in uninterruptible disk I/O outlives libvirt's 15 seconds of patience; Nova tries as often"""


def find(handle: Any, server: str) -> Any | None:
    """The domain, or None when there is none."""
    try:
        return handle.lookupByUUIDString(server)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def ours(handle: Any, server: str) -> tuple[Any, GuestLabel]:
    """A guest of our making. Raises GuestNotFound, and HostError for a domain that is somebody else's."""
    domain = find(handle, server)
    if domain is None:
        raise GuestNotFound(f"this host has no guest {server}")
    label = label_of(domain)
    if label is None:
        raise HostError(f"domain {server} bears no mark of ours and is left alone")
    return domain, label


def label_of(domain: Any) -> GuestLabel | None:
    return read_label(ElementTree.fromstring(domain.XMLDesc(0)))


def passed_through(handle: Any) -> frozenset[str]:
    """The addresses of devices that any domain has, running or not, ours or not."""
    found: set[str] = set()
    for domain in handle.listAllDomains(0):
        with _unless(libvirt.VIR_ERR_NO_DOMAIN):  # gone since it was listed
            found |= addresses_in(domain.XMLDesc(0))
    return frozenset(found)


def see(domain: Any, leases: Leases, host_ip: str) -> SeenGuest:
    state, reason = domain.state()
    what = HALTED.get((state, reason), "")
    halted = halt_reason(what, _qemu_log(domain.name())) if what else ""
    return seen_guest(ElementTree.fromstring(domain.XMLDesc(0)), state, leases, host_ip, halted)


def _qemu_log(name: str) -> str:
    """The end of what QEMU said of this guest; empty where this user may not read it."""
    try:
        with (_QEMU_LOGS / f"{name}.log").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _QEMU_LOG_BYTES))
            return log.read().decode(errors="replace")
    except OSError:
        return ""


def see_all(handle: Any, leases: Leases, host_ip: str) -> list[SeenGuest]:
    seen = []
    for domain in handle.listAllDomains(0):
        with _unless(libvirt.VIR_ERR_NO_DOMAIN):  # gone since it was listed
            seen.append(see(domain, leases, host_ip))
    return seen


def start(domain: Any, check: Callable[[], None]) -> None:
    """From any power state to running; what was saved of its memory is dropped.

    QEMU, which takes its time to start, does so with the guest's processors stopped: `check`, which raises when the
    guest must not run, is asked right before they run, and what was started for nothing is stopped then.
    """
    check()
    if not domain.isActive():
        with _unless(libvirt.VIR_ERR_OPERATION_INVALID):  # it runs meanwhile
            domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED | libvirt.VIR_DOMAIN_START_FORCE_BOOT)
        try:
            check()
        except BaseException:
            pull_plug(domain)
            raise
    if domain.state()[0] in (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PMSUSPENDED):
        domain.resume()


def pause(domain: Any) -> None:
    if domain.state()[0] != libvirt.VIR_DOMAIN_PAUSED:
        domain.suspend()


def unpause(domain: Any) -> None:
    if domain.state()[0] != libvirt.VIR_DOMAIN_RUNNING:
        domain.resume()


def save(domain: Any) -> None:
    """Its memory to disk; whatever it did meanwhile, it runs when it is restored. Raises HostError when it is off."""
    if domain.isActive():
        domain.managedSave(libvirt.VIR_DOMAIN_SAVE_RUNNING)
    elif not domain.hasManagedSaveImage():
        raise HostError(f"domain {domain.UUIDString()} is off: there is no memory to save")


def restore(domain: Any, check: Callable[[], None]) -> None:
    """From what `save` wrote; else it boots. Restoring removes the memory that was saved, so there is no way back from
    there, and it is not begun in two steps."""
    check()
    if not domain.isActive():
        with _unless(libvirt.VIR_ERR_OPERATION_INVALID):
            domain.create()
    else:
        unpause(domain)


def pull_plug(domain: Any) -> None:
    for left in reversed(range(_KILL_ATTEMPTS)):
        if not domain.isActive():
            return
        try:
            with _unless(libvirt.VIR_ERR_OPERATION_INVALID):  # it stopped by itself
                domain.destroy()
            return
        except libvirt.libvirtError:
            if not left:
                raise


def press_power_button(domain: Any) -> None:
    with _unless(libvirt.VIR_ERR_OPERATION_INVALID):
        domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)


def set_mark(domain: Any, label: GuestLabel, mark: GuestMark) -> None:
    """In the definition and, while it runs, in the running domain."""
    flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG
    if domain.isActive():
        flags |= libvirt.VIR_DOMAIN_AFFECT_LIVE
    text = label_xml(evolve(label, mark=mark))
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, text, PREFIX, NAMESPACE, flags)


def remove(domain: Any) -> None:
    with _unless(libvirt.VIR_ERR_NO_DOMAIN):
        pull_plug(domain)
        domain.undefineFlags(_UNDEFINE)


@contextlib.contextmanager
def _unless(code: int) -> Iterator[None]:
    """Takes one of libvirt's errors for a success: the state that was asked for is there already."""
    try:
        yield
    except libvirt.libvirtError as error:
        if error.get_error_code() != code:
            raise
