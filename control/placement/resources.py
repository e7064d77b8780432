"""What a server needs and what a host offers, as resource classes and amounts. Pure."""

from collections.abc import Mapping
from math import ceil
from types import MappingProxyType

from attrs import evolve

from control.placement.demands import demands_of
from control.placement.pinning import Pinning, pinning_of
from schemas.errors import BadRequest
from schemas.guest import HostFacts
from schemas.placement import Inventory, Usages
from schemas.server import FlavorCopy
from schemas.settings import SchedulerSettings

Amounts = dict[str, int]


def needed_by(flavor: FlavorCopy, properties: Mapping[str, str] = MappingProxyType({})) -> Amounts:
    """VCPU or PCPU, MEMORY_MB and DISK_GB as Nova counts them, with the image's properties; `resources[N]:CLASS` extra
    specs replace them, 0 removes."""
    groups = demands_of(flavor.extra_specs, {}).groups.values()
    said: Amounts = {}
    for group in groups:
        for name, amount in group.resources.items():
            said[name] = said.get(name, 0) + amount
    usual = {
        **_processors(flavor, properties, said),
        "MEMORY_MB": flavor.memory_mb,
        "DISK_GB": flavor.root_gb + flavor.ephemeral_gb + ceil(flavor.swap_mb / 1024),
    }
    return {name: amount for name, amount in {**usual, **said}.items() if amount > 0}


def _processors(flavor: FlavorCopy, properties: Mapping[str, str], said: Amounts) -> Amounts:
    """What contradicts itself was refused when the server was asked for; a flavor of old counts as shared."""
    try:
        pinning = pinning_of(flavor.vcpus, flavor.extra_specs, properties)
    except BadRequest:
        pinning = Pinning()
    if pinning.policy in ("dedicated", "mixed"):
        pinned = len(pinning.dedicated)
        return {"PCPU": pinned + pinning.emulator, "VCPU": flavor.vcpus - pinned}
    return {} if "VCPU" in said or "PCPU" in said else {"VCPU": flavor.vcpus}


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
