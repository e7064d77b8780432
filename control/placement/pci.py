"""Devices that a flavor asks to have passed through, and the pools of a host that hold them. Pure.

`pci_passthrough:alias` names aliases of Nova's `[pci] alias`, with counts: `gpu:2,nic:1`.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from attrs import evolve, field, frozen

from schemas.errors import BadRequest
from schemas.topology import PciPool

SPEC: Final = "pci_passthrough:alias"
POLICIES: Final = ("required", "legacy", "preferred", "socket")


@frozen
class PciRequest:
    """`count` devices that match all of `match`. `policy`: `required` on the guest's NUMA cells, `legacy` there or
    where the host does not say, `preferred` anywhere."""

    alias: str
    count: int
    match: Mapping[str, str] = field(factory=dict)
    policy: str = "legacy"


def pci_requests(extra_specs: Mapping[str, str], aliases: Iterable[str]) -> tuple[PciRequest, ...]:
    """`aliases` are JSON objects as Nova has them. Raises BadRequest for an unknown alias or what is no count."""
    text = extra_specs.get(SPEC)
    if not text:
        return ()
    known = {alias["name"]: alias for alias in map(_alias, aliases)}
    policy = extra_specs.get("hw:pci_numa_affinity_policy")
    found = []
    for part in text.split(","):
        name, _, count = part.strip().partition(":")
        if name not in known:
            raise BadRequest(f"PCI alias {name} is not defined")
        if count and not (count.isdecimal() and int(count)):
            raise BadRequest(f"{part.strip()}: the number of devices is at least 1")
        alias = known[name]
        match = {str(k): str(alias[k]) for k in ("vendor_id", "product_id", "device_type") if k in alias}
        chosen = policy or alias.get("numa_policy", "legacy")
        if chosen not in POLICIES:
            raise BadRequest(f"hw:pci_numa_affinity_policy is {chosen}: it is one of {', '.join(POLICIES)}")
        found.append(PciRequest(name, int(count or 1), match, chosen))
    return tuple(found)


def without_devices(
    pools: Iterable[PciPool], requests: Iterable[PciRequest], cells: Collection[int] | None
) -> tuple[PciPool, ...] | None:
    """What is left of the pools when a guest on these NUMA cells (None: on no particular ones) has its devices, or None
    when they do not suffice. Devices near the guest are taken first."""
    left = list(pools)
    for request in sorted(requests, key=_strictness):
        wanted = request.count
        for n in sorted(range(len(left)), key=lambda n: _distance(left[n], cells)):
            if wanted and _matches(left[n], request, cells):
                taken = min(wanted, left[n].free)
                left[n] = evolve(left[n], free=left[n].free - taken)
                wanted -= taken
        if wanted:
            return None
    return tuple(left)


def _alias(text: str) -> dict[str, Any]:
    try:
        alias: dict[str, Any] = json.loads(text)
        alias["name"]
    except (ValueError, TypeError, KeyError):
        raise BadRequest(f"{text} in pci.alias is no JSON object with a name") from None
    return alias


def _strictness(request: PciRequest) -> tuple[int, str]:
    return ("required", "socket", "legacy", "preferred").index(request.policy), request.alias


def _distance(pool: PciPool, cells: Collection[int] | None) -> int:
    """Guests without NUMA cells leave devices with a place for those who need one."""
    if cells is None:
        return 0 if pool.numa_node is None else 1
    return 0 if pool.numa_node in cells else 1 if pool.numa_node is None else 2


def _matches(pool: PciPool, request: PciRequest, cells: Collection[int] | None) -> bool:
    if not pool.free or any(getattr(pool, key) != value for key, value in request.match.items()):
        return False
    if cells is None or request.policy == "preferred":
        return True
    return pool.numa_node in cells or (request.policy == "legacy" and pool.numa_node is None)
