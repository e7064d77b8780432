"""What a server needs and what a host offers, as resource classes and amounts. Pure."""

from math import ceil

from attrs import evolve

from control.placement.demands import demands_of
from schemas.guest import HostFacts
from schemas.placement import Inventory, Usages
from schemas.server import FlavorCopy
from schemas.settings import SchedulerSettings

Amounts = dict[str, int]


def needed_by(flavor: FlavorCopy) -> Amounts:
    """VCPU, MEMORY_MB and DISK_GB as Nova counts them; `resources:CLASS` extra specs replace, 0 removes, and those of
    numbered groups come on top."""
    amounts = {
        "VCPU": flavor.vcpus,
        "MEMORY_MB": flavor.memory_mb,
        "DISK_GB": flavor.root_gb + flavor.ephemeral_gb + ceil(flavor.swap_mb / 1024),
    }
    for suffix, group in demands_of(flavor.extra_specs, {}).groups.items():
        for name, amount in group.resources.items():
            amounts[name] = amounts.get(name, 0) + amount if suffix else amount
    return {name: amount for name, amount in amounts.items() if amount > 0}


def offered_by(facts: HostFacts, settings: SchedulerSettings) -> dict[str, Inventory]:
    """A host's inventory with its ratios and reserves. Pinned processors are given away once; a host whose processors
    are all pinned has none to share."""
    offered = {
        "MEMORY_MB": _inventory(facts.memory_mb, settings.reserved_host_memory_mb, settings.ram_allocation_ratio),
        "DISK_GB": _inventory(
            facts.local_gb, ceil(settings.reserved_host_disk_mb / 1024), settings.disk_allocation_ratio
        ),
    }
    if facts.vcpus:
        offered["VCPU"] = _inventory(facts.vcpus, facts.reserved_vcpus, settings.cpu_allocation_ratio)
    if facts.pcpus:
        offered["PCPU"] = _inventory(facts.pcpus, 0, 1.0)
    return offered


def _inventory(total: int, reserved: int, ratio: float) -> Inventory:
    return Inventory(total, reserved=min(reserved, total), max_unit=total, allocation_ratio=ratio)


def lacking(inventories: dict[str, Inventory], used: Amounts, asked: Amounts) -> str | None:
    """The resource class that does not suffice, or None when all fits. A unit rule counts as not sufficing."""
    for name, amount in asked.items():
        inventory = inventories.get(name)
        if (
            inventory is None
            or used.get(name, 0) + amount > inventory.capacity
            or not inventory.min_unit <= amount <= inventory.max_unit
            or amount % inventory.step_size
        ):
            return name
    return None


def with_claim(usages: Usages, asked: Amounts, sign: int = 1) -> Usages:
    """Usages after a claim (or, with -1, after its release); classes at zero disappear."""
    used = dict(usages.used)
    for name, amount in asked.items():
        used[name] = used.get(name, 0) + sign * amount
    left = {n: a for n, a in used.items() if a > 0}
    return evolve(usages, used=left, generation=usages.generation + 1)
