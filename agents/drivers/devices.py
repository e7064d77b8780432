"""Devices of a host and which of them may be passed through: Nova's `[pci] device_spec`. Pure."""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from schemas.errors import HostFull
from schemas.topology import DeviceClaim, DeviceType, PciPool

_ANY: Final = "*"
_PARTS: Final = (("domain", 0xFFFF, "04x"), ("bus", 0xFF, "02x"), ("slot", 0x1F, "02x"), ("function", 0x7, "x"))
"""of an address: the name, the largest value, how it is written"""
_LABELS: Final = frozenset(
    {"physical_network", "remote_managed", "trusted", "managed", "live_migratable", "resource_class", "traits"}
)
"""other keys of Nova's, which say nothing of whether a device matches"""


@frozen
class Device:
    """`address` is `0000:81:00.0`; `parent` the address of a virtual function's physical one."""

    address: str
    vendor_id: str
    product_id: str
    device_type: DeviceType = "type-PCI"
    numa_node: int | None = None
    parent: str | None = None
    interface: str = ""
    """the name of its network interface"""


@frozen
class DeviceSpec:
    """One line of `device_spec`. `address` has a pattern for each part of an address."""

    vendor_id: str = _ANY
    product_id: str = _ANY
    address: tuple[re.Pattern[str], ...] = ()
    exact: str = ""
    """the address, when it is of one device: that of a physical function stands for its virtual ones too"""
    devname: str = ""

    def matches(self, device: Device, physical: frozenset[str]) -> bool:
        """`physical` are the addresses of the physical functions that the host has, by name or number."""
        if self.vendor_id not in (_ANY, device.vendor_id) or self.product_id not in (_ANY, device.product_id):
            return False
        if self.exact and self.exact in physical and device.parent == self.exact:
            return True
        return all(
            pattern.match(part) for pattern, part in zip(self.address, re.split("[:.]", device.address), strict=False)
        )


def device_specs(lines: Iterable[str]) -> tuple[DeviceSpec, ...]:
    """Each line is a JSON object or a list of them. Raises ValueError in Nova's words for what cannot be."""
    found: list[DeviceSpec] = []
    for line in lines:
        try:
            said = json.loads(line)
        except ValueError:
            raise ValueError(f"Invalid [pci]device_spec config: Invalid entry: '{line}'") from None
        entries = said if isinstance(said, list) else [said]
        if not all(isinstance(entry, dict) for entry in entries):
            raise ValueError(f"Invalid [pci]device_spec config: Invalid entry: '{line}'")
        found += map(_spec, entries)
    return tuple(found)


def allowed(devices: Sequence[Device], specs: Sequence[DeviceSpec]) -> list[Device]:
    """Those that may be passed through."""
    physical = frozenset(device.address for device in devices if device.device_type == "type-PF")
    by_name = {device.interface: device.address for device in devices if device.interface}
    asked = [_named(spec, by_name.get(spec.devname)) for spec in specs if not spec.devname or spec.devname in by_name]
    return [device for device in devices if any(spec.matches(device, physical) for spec in asked)]


def pools(devices: Iterable[Device]) -> tuple[PciPool, ...]:
    """Devices that are alike counted together."""
    alike = Counter(map(_kind, devices))
    order = sorted(alike, key=lambda kind: (*kind[:3], -1 if kind[3] is None else kind[3]))
    return tuple(
        PciPool(vendor, product, alike[kind], of, node) for kind in order for vendor, product, of, node in [kind]
    )


def chosen(
    devices: Sequence[Device], specs: Sequence[DeviceSpec], claims: Iterable[DeviceClaim], taken: Collection[str]
) -> tuple[str, ...]:
    """Addresses of devices for a guest, besides the `taken` ones that guests have already. A physical function and its
    virtual ones are not both given away. Raises HostFull."""
    busy = set(taken)
    busy |= {device.parent for device in devices if device.address in taken and device.parent}
    free = [d for d in allowed(devices, specs) if d.address not in busy and d.parent not in taken]
    found: list[str] = []
    for claim in claims:
        kind = (claim.vendor_id, claim.product_id, claim.device_type, claim.numa_node)
        fitting = sorted(device.address for device in free if _kind(device) == kind)
        if len(fitting) < claim.count:
            where = "" if claim.numa_node is None else f" in NUMA cell {claim.numa_node}"
            raise HostFull(
                f"{claim.count} devices {claim.vendor_id}:{claim.product_id} ({claim.device_type}){where} wanted, "
                f"{len(fitting)} are free"
            )
        found += fitting[: claim.count]
    return tuple(found)


def _kind(device: Device) -> tuple[str, str, DeviceType, int | None]:
    return device.vendor_id, device.product_id, device.device_type, device.numa_node


def _named(spec: DeviceSpec, address: str | None) -> DeviceSpec:
    """A spec by an interface's name is one by the address that the interface has now."""
    if address is None:
        return spec
    patterns, exact = _glob(address)
    return DeviceSpec(spec.vendor_id, spec.product_id, patterns, exact, spec.devname)


def _spec(entry: Mapping[str, Any]) -> DeviceSpec:
    unknown = entry.keys() - _LABELS - {"vendor_id", "product_id", "address", "devname"}
    if unknown:
        raise ValueError(f"Invalid [pci]device_spec config: unknown key {', '.join(sorted(unknown))}")
    address, devname = entry.get("address"), str(entry.get("devname") or "")
    if address and devname:
        raise ValueError("Invalid PCI Whitelist: The PCI whitelist can specify devname or address, but not both")
    if address is None or address == "":
        patterns, exact = _glob("*:*:*.*")
    elif isinstance(address, str):
        patterns, exact = _glob(address)
    elif isinstance(address, dict):
        patterns, exact = _regexes(address), ""
    else:
        raise ValueError(f"The PCI address {address} has an incorrect format.")
    return DeviceSpec(_id(entry, "vendor_id"), _id(entry, "product_id"), patterns, exact, devname)


def _id(entry: Mapping[str, Any], name: str) -> str:
    return _hex(name, str(entry.get(name, _ANY)).strip(), 0xFFFF, "04x")


def _hex(name: str, text: str, most: int, form: str) -> str:
    if text == _ANY:
        return text
    try:
        value = int(text, 16)
    except ValueError:
        raise ValueError(
            f"Invalid [pci]device_spec config: property {name} ('{text}') does not parse as a hex number."
        ) from None
    if value > most:
        raise ValueError(
            f"Invalid [pci]device_spec config: property {name} ({text}) is greater than the maximum allowable value "
            f"({most:X})."
        )
    return format(value, form)


def _glob(address: str) -> tuple[tuple[re.Pattern[str], ...], str]:
    """`*` and left out parts match anything: `81:00`, `:00.*`, `0000:81:00.0`."""
    place, _, function = address.partition(".")
    parts = place.split(":")
    if len(parts) > 3:
        raise ValueError(f"The PCI address {address} has an incorrect format.")
    texts = [_ANY] * (3 - len(parts)) + [part.strip() or _ANY for part in parts] + [function.strip() or _ANY]
    fixed = [_hex(name, text, most, form) for (name, most, form), text in zip(_PARTS, texts, strict=True)]
    patterns = tuple(re.compile(".*" if part == _ANY else re.escape(part) + "$") for part in fixed)
    domain, bus, slot, number = fixed
    return patterns, "" if _ANY in fixed else f"{domain}:{bus}:{slot}.{number}"


def _regexes(address: Mapping[str, Any]) -> tuple[re.Pattern[str], ...]:
    try:
        return tuple(re.compile(str(address.get(name, ".*"))) for name, _, _ in _PARTS)
    except re.error:
        raise ValueError(f"The PCI address {dict(address)} has an incorrect format.") from None
