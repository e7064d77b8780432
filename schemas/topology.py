"""What a host has where: NUMA cells with processors, memory and pages, and devices that can be passed through."""

import re
from typing import Literal

from attrs import frozen

DeviceType = Literal["type-PCI", "type-PF", "type-VF", "vdpa"]


def cpu_set(text: str) -> frozenset[int]:
    """`0-3,^2,8`. Raises ValueError in Nova's words."""
    found: set[int] = set()
    out: set[int] = set()
    for rule in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"(\^?)(\d+)(?:\s*-\s*(\d+))?", rule)
        first, last = (int(match[2]), int(match[3] or match[2])) if match else (1, 0)
        if match is None or first > last:
            kind = "range" if "-" in rule else "exclusion" if rule.startswith("^") else "inclusion"
            raise ValueError(f"Invalid {kind} expression '{rule}'")
        (out if match[1] else found).update(range(first, last + 1))
    return frozenset(found - out)


@frozen
class Pages:
    """Memory pages of one size in a NUMA cell."""

    size_kib: int
    total: int
    used: int = 0

    @property
    def free(self) -> int:
        """Ordinary memory may be given away more often than it is there."""
        return max(0, self.total - self.used)


@frozen
class NumaCell:
    """`cpus` float over shared guests, `dedicated` are pinned; `siblings` are the threads of each core. What is used is
    what guests have claimed."""

    id: int
    memory_mb: int
    cpus: frozenset[int] = frozenset()
    dedicated: frozenset[int] = frozenset()
    siblings: tuple[frozenset[int], ...] = ()
    pages: tuple[Pages, ...] = ()
    cpus_used: int = 0
    """of the shared ones, counted in guests' processors"""
    memory_used_mb: int = 0
    pinned: frozenset[int] = frozenset()
    socket: int | None = None
    """None: its processors lie in several, or the host does not say"""

    @property
    def cores(self) -> tuple[frozenset[int], ...]:
        """The dedicated threads of each core; one that has no siblings is a core."""
        known = frozenset().union(*self.siblings)
        single = (frozenset({cpu}) for cpu in sorted(self.dedicated - known))
        return (*(core & self.dedicated for core in self.siblings if core & self.dedicated), *single)

    @property
    def free_cores(self) -> tuple[frozenset[int], ...]:
        """Of each core the threads that nobody is pinned to; cores without any are left out."""
        return tuple(core - self.pinned for core in self.cores if core - self.pinned)

    @property
    def has_threads(self) -> bool:
        return any(len(core) > 1 for core in self.siblings)


@frozen
class PciPool:
    """Devices of one kind in one place. `numa_node` None: the host does not say."""

    vendor_id: str
    product_id: str
    free: int
    device_type: DeviceType = "type-PCI"
    numa_node: int | None = None


@frozen
class CellClaim:
    """One NUMA cell of a guest in one of its host's. `shared` and the first of each pin are the guest's processors."""

    cell: int
    host_cell: int
    memory_mb: int
    shared: frozenset[int] = frozenset()
    pins: tuple[tuple[int, int], ...] = ()
    """each dedicated processor and the host's that it is pinned to"""
    taken: frozenset[int] = frozenset()
    """the host's processors that nobody else may be pinned to: more than the pins where threads are isolated or the
    emulator has its own"""
    page_kib: int | None = None
    emulator: frozenset[int] = frozenset()
    """those of the taken ones that are the emulator's own; empty: it runs on the guest's"""


@frozen
class DeviceClaim:
    """So many devices of one pool."""

    vendor_id: str
    product_id: str
    count: int
    device_type: str = "type-PCI"
    numa_node: int | None = None


@frozen
class TopologyClaim:
    """Where on its host a server lies."""

    cells: tuple[CellClaim, ...] = ()
    devices: tuple[DeviceClaim, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.cells or self.devices)
