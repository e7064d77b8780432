"""What of a host's processors, memory and devices a server is given, and what others were given before. Pure.

What hosts report is what they have; what is used of it is in the Usages of their providers, by consumer, so that no two
claims are ever given the same.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from attrs import evolve, frozen

from control.placement.numa import GuestCell, Placed, Ratios, guest_cells, placements
from control.placement.pci import PciRequest, pci_requests, without_devices
from schemas.errors import BadRequest
from schemas.guest import HostFacts
from schemas.placement import Provider, Usages
from schemas.topology import CellClaim, DeviceClaim, NumaCell, PciPool, TopologyClaim


@frozen
class Wishes:
    """What a flavor and its image ask of a host's topology. `wrong` says why nothing can be as they ask."""

    cells: tuple[GuestCell, ...] = ()
    devices: tuple[PciRequest, ...] = ()
    wrong: str | None = None

    def __bool__(self) -> bool:
        return bool(self.cells or self.devices or self.wrong)


NO_WISHES: Final = Wishes()


def wishes_of(
    vcpus: int, memory_mb: int, extra_specs: Mapping[str, str], properties: Mapping[str, str], aliases: Iterable[str]
) -> Wishes:
    """`aliases` are those of `[pci] alias`."""
    try:
        return Wishes(
            guest_cells(vcpus, memory_mb, extra_specs, properties), pci_requests(extra_specs, aliases, properties)
        )
    except BadRequest as error:
        return Wishes(wrong=error.message)


def fitted(wishes: Wishes, facts: HostFacts, provider: Provider, usages: Usages) -> TopologyClaim | None:
    """What a server is given on a host beside what the consumers in `usages` have; None when it does not fit. As in
    Nova a guest's cells float where the host tells of none; devices are chosen together with the cells, since they may
    have to be near."""
    if wishes.wrong:
        return None
    claims = usages.topology.values()
    pools = free_pools(facts.pci, claims)
    if not wishes.cells or not facts.topology:
        left = without_devices(pools, wishes.devices, None)
        return None if left is None else TopologyClaim(devices=_taken(pools, left))
    spare = () if wishes.devices else {pool.numa_node for pool in pools}
    for placed in placements(wishes.cells, free_cells(facts.topology, claims), ratios_of(provider), spare):
        left = without_devices(pools, wishes.devices, [p.host_cell for p in placed], facts.topology)
        if left is not None:
            cells = tuple(_claim(*pair) for pair in zip(wishes.cells, placed, strict=True))
            return TopologyClaim(cells, _taken(pools, left))
    return None


def free_cells(cells: Sequence[NumaCell], claims: Iterable[TopologyClaim]) -> tuple[NumaCell, ...]:
    """The host's cells as they are once these are served."""
    left = {cell.id: cell for cell in cells}
    for claim in (c for one in claims for c in one.cells):
        cell = left.get(claim.host_cell)
        if cell is None:
            continue  # the host has changed since
        # As in Nova, memory that is not asked for in pages lies in the smallest ones.
        size = claim.page_kib or min((p.size_kib for p in cell.pages), default=0)
        left[cell.id] = evolve(
            cell,
            cpus_used=cell.cpus_used + len(claim.shared),
            pinned=cell.pinned | claim.taken,
            memory_used_mb=cell.memory_used_mb + claim.memory_mb,
            pages=tuple(
                evolve(p, used=p.used + claim.memory_mb * 1024 // p.size_kib) if p.size_kib == size else p
                for p in cell.pages
            ),
        )
    return tuple(left.values())


def free_pools(pools: Iterable[PciPool], claims: Iterable[TopologyClaim]) -> tuple[PciPool, ...]:
    used: Counter[tuple[str, str, str, int | None]] = Counter()
    for device in (d for one in claims for d in one.devices):
        used[device.vendor_id, device.product_id, device.device_type, device.numa_node] += device.count
    return tuple(evolve(pool, free=max(0, pool.free - used[_kind(pool)])) for pool in pools)


def ratios_of(provider: Provider) -> Ratios:
    cpu, memory = provider.inventories.get("VCPU"), provider.inventories.get("MEMORY_MB")
    return Ratios(cpu.allocation_ratio if cpu else 1.0, memory.allocation_ratio if memory else 1.0)


def with_topology(usages: Usages, consumer: str, claim: TopologyClaim) -> Usages:
    return evolve(usages, topology={**usages.topology, consumer: claim}) if claim else usages


def without_topology(usages: Usages, consumers: Iterable[str]) -> Usages:
    """They hold nothing there any more."""
    gone = usages.topology.keys() & set(consumers)
    return evolve(usages, topology={c: t for c, t in usages.topology.items() if c not in gone}) if gone else usages


def _claim(guest: GuestCell, placed: Placed) -> CellClaim:
    return CellClaim(
        guest.id,
        placed.host_cell,
        guest.memory_mb,
        guest.shared,
        placed.pins,
        placed.taken,
        placed.page_kib,
        placed.emulator,
    )


def _taken(before: Iterable[PciPool], after: Iterable[PciPool]) -> tuple[DeviceClaim, ...]:
    return tuple(
        DeviceClaim(b.vendor_id, b.product_id, b.free - a.free, b.device_type, b.numa_node)
        for b, a in zip(before, after, strict=True)
        if b.free > a.free
    )


def _kind(pool: PciPool) -> tuple[str, str, str, int | None]:
    return pool.vendor_id, pool.product_id, pool.device_type, pool.numa_node
