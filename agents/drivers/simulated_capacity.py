"""What a simulated host has: processors in cores and NUMA cells, memory in pages, devices. Pure."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Final, get_args

from attrs import field, frozen

from agents.drivers.processors import Processors, ProcessorSets
from schemas.topology import DeviceClaim, DeviceType, NumaCell, Pages, PciPool, TopologyClaim

_SMALL_KIB: Final = 4


@frozen
class SimulatedCapacity:
    """`vcpus` are all processors, of which `sets` says what is offered; they and the memory lie in equal parts in the
    NUMA cells. `overcommit` is how far memory and disk of all guests may exceed the host's before it says HostFull.
    Raises ValueError for a shape that no host has."""

    vcpus: int = 64
    memory_mb: int = 262144
    local_gb: int = 4000
    overcommit: float = 1.0
    numa_cells: int = 1
    threads: int = 1
    """of each core"""
    huge_pages: Mapping[int, int] = field(factory=dict)
    """of each NUMA cell: KiB of a page -> how many"""
    pci: tuple[PciPool, ...] = ()
    sets: ProcessorSets = field(factory=ProcessorSets)

    def __attrs_post_init__(self) -> None:
        if self.numa_cells < 1 or self.threads < 1 or self.vcpus % (self.numa_cells * self.threads):
            raise ValueError(
                f"{self.vcpus} processors are not whole cores of {self.threads} threads in {self.numa_cells} NUMA cells"
            )
        if any(size % _SMALL_KIB or size <= _SMALL_KIB or count < 0 for size, count in self.huge_pages.items()):
            raise ValueError(f"huge pages are larger than {_SMALL_KIB} KiB and a multiple of that")
        if self._huge_kib > self._cell_kib:
            raise ValueError(f"huge pages of {self._huge_kib} KiB exceed the {self._cell_kib} KiB of a NUMA cell")
        if any(pool.numa_node is not None and not 0 <= pool.numa_node < self.numa_cells for pool in self.pci):
            raise ValueError(f"a device is in a NUMA cell beyond the host's {self.numa_cells}")
        self.sets.of(frozenset(range(self.vcpus)))

    @cached_property
    def offered(self) -> Processors:
        return self.sets.of(frozenset(range(self.vcpus)))

    @cached_property
    def topology(self) -> tuple[NumaCell, ...]:
        return tuple(self._cell(number) for number in range(self.numa_cells))

    def lacking(self, claim: TopologyClaim, others: Iterable[TopologyClaim]) -> str | None:
        """What of a claim nobody has here, or one of the others has already."""
        given = list(others)
        dedicated = {cell.id: cell.dedicated for cell in self.topology}
        for cell in claim.cells:
            free = dedicated.get(cell.host_cell, frozenset()).difference(*(c.taken for one in given for c in one.cells))
            wanted = cell.taken.union(host for _, host in cell.pins)
            if not wanted <= free:
                return (
                    f"dedicated processors {sorted(wanted)} of NUMA cell {cell.host_cell} wanted, free: {sorted(free)}"
                )
        used = Counter({_kind(pool): -pool.free for pool in self.pci})
        for device in (d for one in (*given, claim) for d in one.devices):
            used[_kind(device)] += device.count
        for device in claim.devices:
            if used[_kind(device)] > 0:
                return (
                    f"{device.count} devices {device.vendor_id}:{device.product_id} wanted, {used[_kind(device)]} lack"
                )
        return None

    def _cell(self, number: int) -> NumaCell:
        each = self.vcpus // self.numa_cells
        cpus = range(number * each, (number + 1) * each)
        here, offered = frozenset(cpus), self.offered
        cores = (frozenset(cpus[n : n + self.threads]) for n in range(0, each, self.threads))
        small = Pages(_SMALL_KIB, (self._cell_kib - self._huge_kib) // _SMALL_KIB)
        return NumaCell(
            number,
            self._cell_kib // 1024,
            here & offered.shared,
            here & offered.dedicated,
            tuple(core for core in (c & (offered.shared | offered.dedicated) for c in cores) if len(core) > 1),
            (small, *(Pages(size, count) for size, count in sorted(self.huge_pages.items()))),
            socket=number,
        )

    @property
    def _cell_kib(self) -> int:
        return self.memory_mb // self.numa_cells * 1024

    @property
    def _huge_kib(self) -> int:
        return sum(size * count for size, count in self.huge_pages.items())


def _kind(of: PciPool | DeviceClaim) -> tuple[str, str, str, int | None]:
    return of.vendor_id, of.product_id, of.device_type, of.numa_node


def simulated_pools(lines: Iterable[str]) -> tuple[PciPool, ...]:
    """From JSON objects. Raises ValueError for what is none or has unknown keys."""
    return tuple(map(_pool, lines))


def _pool(line: str) -> PciPool:
    try:
        said: dict[str, Any] = json.loads(line)
        kind: DeviceType = said.pop("device_type", "type-PCI")
        node, count = said.pop("numa_node", None), int(said.pop("count", 1))
        pool = PciPool(
            f"{int(said.pop('vendor_id'), 16):04x}", f"{int(said.pop('product_id'), 16):04x}", count, kind, node
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ValueError(f"{line} is no device: write a JSON object with vendor_id and product_id in hex") from None
    if said or kind not in get_args(DeviceType) or count < 0 or not (node is None or isinstance(node, int)):
        raise ValueError(f"{line} is no device: it may have count, device_type and numa_node too, and nothing else")
    return pool
