"""What libvirt's capabilities and the kernel's memory table say of a host. Pure."""

import re
from typing import Any, Final, Literal
from xml.etree import ElementTree

import os_traits

_ALWAYS: Final = frozenset(
    {
        os_traits.COMPUTE_NODE,
        os_traits.COMPUTE_IMAGE_TYPE_QCOW2,
        os_traits.COMPUTE_IMAGE_TYPE_RAW,
        os_traits.COMPUTE_FIRMWARE_BIOS,
        os_traits.COMPUTE_GRAPHICS_MODEL_VGA,
        os_traits.COMPUTE_NET_VIF_MODEL_VIRTIO,
        os_traits.COMPUTE_STORAGE_BUS_VIRTIO,
        os_traits.COMPUTE_STORAGE_BUS_IDE,
    }
)
"""true of every host of this driver; Nova's libvirt driver reports them under the same conditions"""

_FEATURE_TRAITS: Final = {
    "aes": ("AESNI",),
    "amd-ssbd": ("AMD_SSBD",),
    "bmi1": ("BMI",),
    "fma": ("FMA3",),
    "ibpb": ("AMD_IBPB",),
    "md-clear": ("INTEL_MD_CLEAR",),
    "pclmuldq": ("CLMUL",),
    "pclmulqdq": ("CLMUL",),
    "pcid": ("INTEL_PCID",),
    "pni": ("SSE3",),
    "rtm": ("TSX",),
    "sha-ni": ("SHA",),
    "spec-ctrl": ("INTEL_SPEC_CTRL",),
    "sse4.1": ("SSE41",),
    "sse4.2": ("SSE42",),
    "svm": ("SVM", "AMD_SVM"),
    "virt-ssbd": ("AMD_VIRT_SSBD",),
    "vmx": ("VMX", "INTEL_VMX"),
}
"""libvirt's name of a CPU feature -> the ends of its traits, where the two differ by more than case and dashes"""


def cpu_info(capabilities: str) -> dict[str, object]:
    """The `cpu_info` of a hypervisor in Nova's shape."""
    host = _host(capabilities)
    topology = host.find("cpu/topology")
    counts = (
        {key: int(topology.get(key, "1")) for key in ("sockets", "cores", "threads")} if topology is not None else {}
    )
    return {
        "arch": host.findtext("cpu/arch", "x86_64"),
        "model": host.findtext("cpu/model", ""),
        "vendor": host.findtext("cpu/vendor", ""),
        "features": sorted(feature.get("name", "") for feature in host.findall("cpu/feature")),
        "topology": {"cells": len(host.findall("topology/cells/cell")) or 1, **counts},
    }


def traits(cpu: dict[str, Any], domain_type: Literal["kvm", "qemu"], threads: bool = False) -> frozenset[str]:
    """CPU features count only with kvm: an emulated CPU has its own. `threads`: the host's cores have several."""
    known = set(os_traits.get_traits())
    arch = str(cpu["arch"]).upper()
    names = {f"HW_ARCH_{arch}", f"COMPUTE_ARCH_{arch}"}
    if domain_type == "kvm":
        names |= {f"HW_CPU_X86_{end}" for name in cpu["features"] for end in _trait_ends(name)}
    if threads:
        names.add(os_traits.HW_CPU_HYPERTHREADING)
    return _ALWAYS | frozenset(names & known)


def total_memory_mb(meminfo: str) -> int:
    """Out of /proc/meminfo: libvirt's own figure is wrong on some machines."""
    found = re.search(r"^MemTotal:\s+(\d+) kB$", meminfo, re.MULTILINE)
    if found is None:
        raise ValueError("no MemTotal in /proc/meminfo")
    return int(found[1]) // 1024


def _trait_ends(feature: str) -> tuple[str, ...]:
    return _FEATURE_TRAITS.get(feature, (feature.upper().replace("-", "_"),))


def _host(capabilities: str) -> ElementTree.Element:
    host = ElementTree.fromstring(capabilities).find("host")
    if host is None:
        raise ValueError("no <host> in libvirt's capabilities")
    return host
