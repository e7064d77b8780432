"""In which states metadata and tags of a server may be written."""

from typing import Final

from schemas.errors import Locked, WrongState
from schemas.identity import Identity
from schemas.server import Instance

WRITABLE: Final = frozenset({"active", "paused", "suspended", "stopped"})


def check_writable(server: Instance, identity: Identity, action: str, *, lockable: bool = True) -> None:
    """Raises Locked or WrongState."""
    if lockable and server.locked and not identity.is_admin:
        raise Locked(f"Instance {server.uuid} is locked")
    if server.vm_state not in WRITABLE:
        raise WrongState(f"Cannot '{action}' instance {server.uuid} while it is in vm_state {server.vm_state}")
