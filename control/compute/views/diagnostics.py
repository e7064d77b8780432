"""A guest's diagnostics: one layout for all drivers from 2.48 on, libvirt's own names before."""

from datetime import datetime
from typing import Any, Final

from schemas.guest import Diagnostics
from schemas.server import Instance

Json = dict[str, Any]

STANDARD_SINCE: Final = 48


def standard(server: Instance, told: Diagnostics, now: datetime) -> Json:
    """What no driver of ours measures is null."""
    return {
        "state": told.state,
        "driver": told.driver,
        "hypervisor": told.hypervisor,
        "hypervisor_os": told.hypervisor_os,
        "uptime": int((now - server.launched).total_seconds()) if server.launched else None,
        "config_drive": server.config_drive,
        "num_cpus": len(told.cpus),
        "num_nics": len(told.nics),
        "num_disks": len(told.disks),
        "memory_details": {"maximum": told.memory_maximum, "used": told.memory_used},
        "cpu_details": [{"id": cpu.id, "time": cpu.time, "utilisation": None} for cpu in told.cpus],
        "nic_details": [
            {
                "mac_address": nic.mac_address,
                "rx_octets": nic.rx_octets,
                "rx_errors": nic.rx_errors,
                "rx_drop": nic.rx_drop,
                "rx_packets": nic.rx_packets,
                "rx_rate": None,
                "tx_octets": nic.tx_octets,
                "tx_errors": nic.tx_errors,
                "tx_drop": nic.tx_drop,
                "tx_packets": nic.tx_packets,
                "tx_rate": None,
            }
            for nic in told.nics
        ],
        "disk_details": [
            {
                "read_bytes": disk.read_bytes,
                "read_requests": disk.read_requests,
                "write_bytes": disk.write_bytes,
                "write_requests": disk.write_requests,
                "errors_count": disk.errors_count,
            }
            for disk in told.disks
        ],
    }


def raw(told: Diagnostics) -> Json:
    """As Nova's libvirt driver had it: memory in KiB, one key a figure."""
    body: Json = {f"cpu{cpu.id}_time": cpu.time for cpu in told.cpus}
    for disk in told.disks:
        body |= {
            f"{disk.device}_read": disk.read_bytes,
            f"{disk.device}_read_req": disk.read_requests,
            f"{disk.device}_write": disk.write_bytes,
            f"{disk.device}_write_req": disk.write_requests,
            f"{disk.device}_errors": disk.errors_count,
        }
    body["memory"] = told.memory_maximum * 1024
    body |= {f"memory-{name}": kib for name, kib in told.memory_stats.items()}
    for nic in told.nics:
        body |= {
            f"{nic.device}_rx": nic.rx_octets,
            f"{nic.device}_rx_packets": nic.rx_packets,
            f"{nic.device}_rx_errors": nic.rx_errors,
            f"{nic.device}_rx_drop": nic.rx_drop,
            f"{nic.device}_tx": nic.tx_octets,
            f"{nic.device}_tx_packets": nic.tx_packets,
            f"{nic.device}_tx_errors": nic.tx_errors,
            f"{nic.device}_tx_drop": nic.tx_drop,
        }
    return body
