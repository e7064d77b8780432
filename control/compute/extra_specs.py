"""The extra specs of flavors that are known: from 2.86 on their names and values are checked as Nova checks them.

A name without a namespace, or of a namespace that is not in the table, is nobody's business. Pure.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

import os_resource_classes
import os_traits

from control.compute.schemas.common import words
from schemas.errors import BadRequest
from schemas.numbers import whole_number

SINCE: Final = 86
"""the first microversion that checks"""

Check = Callable[[str], str | None]
"""What is wrong with a value; None: nothing"""


def integer(least: int | None = None, most: int | None = None) -> Check:
    def check(value: str) -> str | None:
        number = whole_number(value.strip())
        if number is None:
            return f"'{value}' is not a valid integer value."
        if most is not None and number > most:
            return f"'{value}' is greater than the max value of '{most}'."
        if least is not None and number < least:
            return f"'{value}' is less than the min value of '{least}'."
        return None

    return check


def one_of(*words: str) -> Check:
    return lambda v: None if v in words else f"'{v}' is not one of: {', '.join(words)}."


def like(pattern: str) -> Check:
    compiled = re.compile(pattern)
    return lambda v: None if compiled.fullmatch(v) else f"'{v}' is not of the format '{pattern}'."


_BOOLEANS: Final = frozenset(words("1 t true on y yes 0 f false off n no"))


def boolean(value: str) -> str | None:
    return None if value.strip().lower() in _BOOLEANS else f"'{value}' is not a valid boolean-like value."


def anything(_: str) -> str | None:
    return None


_COUNT: Final = integer(1)
_SIZE: Final = integer(0)
_CPUS: Final = like(r"\^?\d+((-\d+)?(,\^?\d+(-\d+)?)?)*")
_GROUP: Final = r"([a-zA-Z0-9_-]{1,64})?"
_CLASSES: Final = "|".join((*os_resource_classes.STANDARDS, "CUSTOM_[A-Z0-9_]+"))
_TRAITS: Final = "|".join((*sorted(os_traits.get_traits()), "CUSTOM_[A-Z0-9_]+"))
_TUNES: Final = ("read", "write", "total")
_FLOWS: Final = ("average", "peak", "burst")

EXACT: Final[Mapping[str, Check]] = {
    "hide_hypervisor_id": boolean,
    "group_policy": one_of("none", "isolate"),
    "accel:device_profile": anything,
    "hw:boot_menu": boolean,
    "hw:cpu_cores": _COUNT,
    "hw:cpu_dedicated_mask": _CPUS,
    "hw:cpu_max_cores": _COUNT,
    "hw:cpu_max_sockets": _COUNT,
    "hw:cpu_max_threads": _COUNT,
    "hw:cpu_policy": one_of("dedicated", "shared", "mixed"),
    "hw:cpu_realtime": boolean,
    "hw:cpu_realtime_mask": _CPUS,
    "hw:cpu_sockets": _COUNT,
    "hw:cpu_thread_policy": one_of("prefer", "isolate", "require"),
    "hw:cpu_threads": _COUNT,
    "hw:emulator_threads_policy": one_of("isolate", "share"),
    "hw:ephemeral_encryption": boolean,
    "hw:ephemeral_encryption_format": one_of("luks"),
    "hw:hide_hypervisor_id": boolean,
    "hw:locked_memory": boolean,
    "hw:maxphysaddr_bits": _SIZE,
    "hw:maxphysaddr_mode": one_of("passthrough", "emulate"),
    "hw:mem_encryption": boolean,
    "hw:mem_encryption_model": one_of("amd-sev", "amd-sev-es"),
    "hw:mem_page_size": like(r"(large|small|any|\d+([kKMGT]i?)?(b|bit|B)?)"),
    "hw:numa_nodes": _COUNT,
    "hw:pci_numa_affinity_policy": one_of("required", "preferred", "legacy", "socket"),
    "hw:pmem": anything,
    "hw:pointer_model": one_of("ps2mouse", "usbtablet"),
    "hw:redirected_usb_ports": integer(0, 15),
    "hw:serial_port_count": _SIZE,
    "hw:sound_model": one_of("sb16", "es1370", "pcspk", "ac97", "ich6", "ich9", "usb", "virtio"),
    "hw:tpm_model": one_of("tpm-tis", "tpm-crb"),
    "hw:tpm_secret_security": one_of("user", "host", "deployment"),
    "hw:tpm_version": one_of("1.2", "2.0"),
    "hw:usb_model": one_of(
        *words("piix3-uhci piix4-uhci ehci ich9-ehci1 vt82c686b-uhci pci-ohci nec-xhci qemu-xhci none")
    ),
    "hw:vif_multiqueue_enabled": boolean,
    "hw:viommu_model": one_of("intel", "smmuv3", "virtio", "auto"),
    "hw:virtio_packed_ring": boolean,
    "hw:watchdog_action": one_of("none", "pause", "poweroff", "reset", "disabled"),
    "hw_rng:allowed": boolean,
    "hw_rng:rate_bytes": _SIZE,
    "hw_rng:rate_period": _SIZE,
    "hw_video:ram_max_mb": _SIZE,
    "os:secure_boot": one_of("disabled", "required"),
    "pci_passthrough:alias": like(r"[^:]+:\d+(?:\s*,\s*[^:]+:\d+)*"),
    "quota:cpu_period": _SIZE,
    "quota:cpu_quota": integer(),
    "quota:cpu_shares": _SIZE,
    **{f"quota:disk_{way}_{unit}_sec": _SIZE for way in _TUNES for unit in ("bytes", "iops")},
    **{f"quota:vif_{way}_{flow}": _SIZE for way in ("inbound", "outbound") for flow in _FLOWS},
}
"""Name -> what is asked of its value"""

FORMED: Final[tuple[tuple[re.Pattern[str], Check], ...]] = (
    (re.compile(r"aggregate_instance_extra_specs:.+"), anything),
    (re.compile(r"capabilities:.+"), anything),
    (re.compile(r"hw:numa_cpus\.\d+"), _CPUS),
    (re.compile(r"hw:numa_mem\.\d+"), _COUNT),
    (re.compile(rf"resources{_GROUP}:({_CLASSES})"), _SIZE),
    (re.compile(rf"trait{_GROUP}:({_TRAITS})"), one_of("required", "forbidden")),
)
"""Names that carry a number, a key, a resource class or a trait"""

NAMESPACES: Final = re.compile(
    "accel|aggregate_instance_extra_specs|capabilities|hw|hw_rng|hw_video|os|pci_passthrough|quota"
    rf"|resources{_GROUP}|trait{_GROUP}"
)


def check_specs(specs: Mapping[str, str]) -> None:
    """Raises BadRequest."""
    for name, value in specs.items():
        wrong = problem(name, value)
        if wrong:
            raise BadRequest(f"Validation failed; {wrong}")


def problem(name: str, value: str) -> str | None:
    """What is wrong with an extra spec; None: nothing."""
    check = EXACT.get(name) or next((check for form, check in FORMED if form.fullmatch(name)), None)
    if check is not None:
        return check(value)
    namespace, colon, _ = name.partition(":")
    if colon and NAMESPACES.fullmatch(namespace):
        return f"extra spec '{name}' does not appear to be a valid extra spec."
    return None
