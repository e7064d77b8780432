"""What a host is known by in extra specs and queries: the attributes of Nova's HostState, under its names. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from control.scheduler.model import HostState


def attribute(state: HostState, path: Sequence[str]) -> Any:
    """`path` leads into dictionaries, as `cpu_info`, `model` does; None for what is not known."""
    value: Any = _attributes(state)
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _attributes(state: HostState) -> Mapping[str, Any]:
    facts = state.facts
    if facts is None:
        return {}
    used = state.usages.value.used if state.usages else {}
    memory, disk = used.get("MEMORY_MB", 0), used.get("DISK_GB", 0)
    return {
        "host": state.host,
        "nodename": facts.hypervisor_hostname,
        "uuid": state.node.uuid if state.node else None,
        "cell_uuid": state.mapping.value.cell if state.mapping else None,
        "host_ip": facts.host_ip,
        "hypervisor_type": facts.hypervisor_type,
        "hypervisor_version": facts.hypervisor_version,
        "hypervisor_hostname": facts.hypervisor_hostname,
        "cpu_info": facts.cpu_info,
        "vcpus_total": facts.vcpus,
        "vcpus_used": used.get("VCPU", 0),
        "total_usable_ram_mb": facts.memory_mb,
        "free_ram_mb": facts.memory_mb - memory,
        "total_usable_disk_gb": facts.local_gb,
        "disk_mb_used": disk * 1024,
        "free_disk_mb": (facts.local_gb - disk) * 1024,
        "num_io_ops": facts.io_ops,
    }
