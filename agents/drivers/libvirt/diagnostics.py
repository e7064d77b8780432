"""What libvirt has counted of a running guest, as Diagnostics."""

from collections.abc import Mapping
from typing import Any, Final, Literal
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import libvirt

from agents.drivers.libvirt.guest_state import POWER_STATES
from schemas.errors import WrongState
from schemas.guest import CpuDiagnostics, Diagnostics, DiskDiagnostics, NicDiagnostics, PowerState

Stats = Mapping[str, Any]
"""flat, as virConnectGetAllDomainStats names them: `vcpu.0.time`, `net.1.rx.bytes`"""

_GROUPS: Final = (
    libvirt.VIR_DOMAIN_STATS_STATE
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_VCPU
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
    | libvirt.VIR_DOMAIN_STATS_BLOCK
)
_WORDS: Final[Mapping[int, Literal["running", "paused"]]] = {PowerState.RUNNING: "running", PowerState.PAUSED: "paused"}


def read_diagnostics(handle: Any, domain: Any, hypervisor: str) -> Diagnostics:
    """Blocking. Raises WrongState unless the guest runs or is paused."""
    ((_, stats),) = handle.domainListGetStats([domain], _GROUPS)
    state = POWER_STATES.get(stats["state.state"], PowerState.NOSTATE)
    if state not in _WORDS:
        raise WrongState(f"Cannot 'get_diagnostics' instance {domain.UUIDString()} while it is in power state {state}")
    memory = {name: kib for name, kib in domain.memoryStats().items() if name != "last_update"}
    return diagnostics(stats, ElementTree.fromstring(domain.XMLDesc(0)), _WORDS[state], hypervisor, memory)


def diagnostics(
    stats: Stats, domain: Element, state: Literal["running", "paused"], hypervisor: str, memory: Mapping[str, int]
) -> Diagnostics:
    """Pure. `memory`: libvirt's names -> KiB."""
    macs = {
        nic.find("target").get("dev", ""): nic.find("mac").get("address", "")  # type: ignore[union-attr]  # of a running domain
        for nic in domain.findall("devices/interface")
    }
    return Diagnostics(
        state=state,
        driver="libvirt",
        hypervisor=hypervisor,
        memory_maximum=stats.get("balloon.maximum", 0) // 1024,
        memory_used=stats.get("balloon.current", 0) // 1024,
        cpus=tuple(
            CpuDiagnostics(n, stats[f"vcpu.{n}.time"])
            for n in range(stats.get("vcpu.maximum", 0))
            if f"vcpu.{n}.time" in stats
        ),
        nics=tuple(_nic(stats, f"net.{n}", macs) for n in range(stats.get("net.count", 0))),
        disks=tuple(_disk(stats, f"block.{n}") for n in range(stats.get("block.count", 0))),
        memory_stats=dict(memory),
    )


def _nic(stats: Stats, at: str, macs: Mapping[str, str]) -> NicDiagnostics:
    device = stats[f"{at}.name"]

    def counted(what: str) -> int:
        return int(stats.get(f"{at}.{what}", 0))

    return NicDiagnostics(
        device,
        macs.get(device, ""),
        *(counted(f"rx.{what}") for what in ("bytes", "pkts", "errs", "drop")),
        *(counted(f"tx.{what}") for what in ("bytes", "pkts", "errs", "drop")),
    )


def _disk(stats: Stats, at: str) -> DiskDiagnostics:
    def counted(what: str, unknown: int = 0) -> int:
        return int(stats.get(f"{at}.{what}", unknown))

    return DiskDiagnostics(
        stats[f"{at}.name"],
        counted("rd.bytes"),
        counted("rd.reqs"),
        counted("wr.bytes"),
        counted("wr.reqs"),
        counted("errors", unknown=-1),
    )
