"""One open connection to libvirt, for one thread at a time."""

import contextlib
from collections.abc import Callable
from typing import Any, Final

import libvirt

Handle = Any
"""libvirt.virConnect: libvirt-python carries no types"""

_UNANSWERED: Final = 3


class Link:
    """All methods may block."""

    def __init__(self, uri: str, keepalive: int) -> None:
        """Opens the connection, which breaks when libvirtd leaves three keepalives, `keepalive` seconds apart,
        unanswered. Raises libvirtError; may hang for as long as libvirtd does.
        """
        self.handle: Handle = libvirt.open(uri)
        self._lifecycle: int | None = None
        try:
            self.handle.setKeepAlive(keepalive, _UNANSWERED)
        except libvirt.libvirtError:
            self.close()
            raise

    def subscribe(self, on_closed: Callable[[str], None], on_event: Callable[[str], None]) -> None:
        """Both are called on libvirt's thread and must not block: `on_closed` with a reason when the connection is
        lost, `on_event` with the UUID of a domain whose life took a turn. Raises libvirtError.
        """

        def closed(_handle: Handle, reason: int, _opaque: object) -> None:
            on_closed(f"the connection was closed, reason {reason}")

        def event(_handle: Handle, domain: Any, _event: int, _detail: int, _opaque: object) -> None:
            on_event(domain.UUIDString())

        self.handle.registerCloseCallback(closed, None)
        kind = libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE
        self._lifecycle = self.handle.domainEventRegisterAny(None, kind, event, None)

    def alive(self) -> bool:
        try:
            return bool(self.handle.isAlive())
        except libvirt.libvirtError:
            return False

    def close(self) -> None:
        # Callbacks hold references: while there are any, closing would not free the connection.
        if self._lifecycle is not None:
            with contextlib.suppress(libvirt.libvirtError):
                self.handle.domainEventDeregisterAny(self._lifecycle)
            with contextlib.suppress(libvirt.libvirtError):
                self.handle.unregisterCloseCallback()
        with contextlib.suppress(libvirt.libvirtError):
            self.handle.close()
