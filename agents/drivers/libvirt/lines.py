"""Connections for calls: as many as there are calls at a time, each with one call at a time.

libvirt's client lets threads share a connection, but when it breaks with several calls on it, versions up to 10.3 may
touch freed memory (CVE-2024-4418) and take the agent along. Besides, libvirtd serves only five calls of a connection
at a time.
"""

import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

import libvirt

from agents.drivers.libvirt.link import Handle, Link
from schemas.errors import GuestNotFound, HostError, HostFull, HypervisorDown

T = TypeVar("T")

_FULL: Final = ("No space left on device", "Cannot allocate memory", "cannot set up guest memory")
"""what libvirt and QEMU say when the host has no more of something"""


class Lines:
    """All methods block, and may be called from any thread."""

    def __init__(self, uri: str, keepalive: int) -> None:
        self._uri = uri
        self._keepalive = keepalive
        self._lock = threading.Lock()
        self._idle: list[Link] = []
        self._age = 0

    def run(self, work: Callable[[Handle], T]) -> T:
        """`work(handle)` on a connection of its own; libvirt's errors come out as ours."""
        with self._lock:
            age = self._age
            link = self._idle.pop() if self._idle else None
        try:
            link = link or Link(self._uri, self._keepalive)
        except libvirt.libvirtError as error:
            raise HypervisorDown(f"libvirt at {self._uri} does not answer: {error}") from error
        try:
            return work(link.handle)
        except libvirt.libvirtError as error:
            if not link.alive():
                raise HypervisorDown(f"libvirt at {self._uri} went away: {error}") from error
            raise translated(error) from error
        finally:
            self._give_back(link, age)

    def drop(self) -> None:
        """Close all: the idle ones now, the busy ones when they are done."""
        with self._lock:
            self._age += 1
            idle, self._idle = self._idle, []
        for link in idle:
            link.close()

    def _give_back(self, link: Link, age: int) -> None:
        alive = link.alive()
        with self._lock:
            keep = alive and age == self._age
            if keep:
                self._idle.append(link)
        if not keep:
            link.close()


def translated(error: Any) -> HostError:
    """A libvirtError as one of our errors."""
    text = str(error)
    if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
        return GuestNotFound(text)
    if any(sign in text for sign in _FULL):
        return HostFull(text)
    return HostError(text)
