"""Devices that a flavor asks to have passed through, and the pools of a host that hold them. Pure.

`pci_passthrough:alias` names aliases of Nova's `[pci] alias`, with counts: `gpu:2,nic:1`.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from attrs import evolve, field, frozen

from schemas.errors import BadRequest
from schemas.topology import NumaCell, PciPool

SPEC: Final = "pci_passthrough:alias"
POLICIES: Final = ("required", "legacy", "preferred", "socket")


@frozen
class PciRequest:
    """`count` devices that match all of `match`. `policy`: `required` on the guest's NUMA cells, `socket` there or
    in another cell of their sockets, `legacy` there or where the host does not say, `preferred` anywhere."""

    alias: str
    count: int
    match: Mapping[str, str] = field(factory=dict)
    policy: str = "legacy"


def pci_requests(
    extra_specs: Mapping[str, str], aliases: Iterable[str], properties: Mapping[str, str] = MappingProxyType({})
) -> tuple[PciRequest, ...]:
    """`aliases` are JSON objects as Nova has them, `properties` the image's. Raises BadRequest for an unknown alias or
    what is no count."""
    policy = _policy(extra_specs, properties)
    text = extra_specs.get(SPEC)
    if not text:
        return ()
    known = {alias["name"]: alias for alias in map(_alias, aliases)}
    found = []
    for part in text.split(","):
        name, _, count = part.strip().partition(":")
        if name not in known:
            raise BadRequest(f"PCI alias {name} is not defined")
        if count and not (count.isdecimal() and int(count)):
            raise BadRequest(f"{part.strip()}: the number of devices is at least 1")
        alias = known[name]
        match = {str(k): str(alias[k]) for k in ("vendor_id", "product_id", "device_type") if k in alias}
        chosen = _known(policy or alias.get("numa_policy", "legacy"))
        found.append(PciRequest(name, int(count or 1), match, chosen))
    return tuple(found)


def without_devices(
    pools: Iterable[PciPool],
    requests: Iterable[PciRequest],
    cells: Collection[int] | None,
    host: Iterable[NumaCell] = (),
) -> tuple[PciPool, ...] | None:
    """What is left of the pools when a guest on these NUMA cells (None: on no particular ones) has its devices, or None
    when they do not suffice. Devices near the guest are taken first. `host` are all of the host's cells, which say what
    lies in one socket."""
    left = list(pools)
    sockets = {cell.id: cell.socket for cell in host if cell.socket is not None}
    beside = {node for node, socket in sockets.items() if socket in {sockets.get(cell) for cell in cells or ()}}
    for request in sorted(requests, key=_strictness):
        wanted = request.count
        for n in sorted(range(len(left)), key=lambda n: _distance(left[n], cells)):
            if wanted and _matches(left[n], request, cells, beside):
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


def _matches(pool: PciPool, request: PciRequest, cells: Collection[int] | None, beside: Collection[int]) -> bool:
    """Physical functions and vDPA devices are for those who ask for their type."""
    if not pool.free or any(getattr(pool, key) != value for key, value in request.match.items()):
        return False
    if pool.device_type in ("type-PF", "vdpa") and "device_type" not in request.match:
        return False
    if cells is None or request.policy == "preferred" or pool.numa_node in cells:
        return True
    if request.policy == "socket":
        return pool.numa_node in beside
    return request.policy == "legacy" and pool.numa_node is None


def _policy(extra_specs: Mapping[str, str], properties: Mapping[str, str]) -> str | None:
    ours, theirs = extra_specs.get("hw:pci_numa_affinity_policy"), properties.get("hw_pci_numa_affinity_policy")
    if ours and theirs and ours != theirs:
        raise BadRequest(
            "Image property 'hw_pci_numa_affinity_policy' is not permitted to override the 'pci_numa_affinity_policy' "
            "set against the flavor"
        )
    chosen = ours or theirs
    return _known(chosen) if chosen else None


def _known(policy: str) -> str:
    if policy not in POLICIES:
        raise BadRequest(f"Invalid PCI NUMA affinity configured: {policy}")
    return policy
