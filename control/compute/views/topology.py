"""A server's NUMA cells, since 2.78."""

from typing import Any

from schemas.topology import TopologyClaim


def topology_view(lies: TopologyClaim | None, *, host: bool) -> dict[str, Any]:
    """`host`: also where on the host each cell lies, and what its processors are pinned to."""
    cells = lies.cells if lies else ()
    nodes = []
    for cell in cells:
        node: dict[str, Any] = {
            "memory_mb": cell.memory_mb,
            "vcpu_set": sorted(cell.shared | {cpu for cpu, _ in cell.pins}),
        }
        if host:
            node["host_node"] = cell.host_cell
            node["cpu_pinning"] = {str(cpu): on for cpu, on in cell.pins}
        nodes.append(node)
    return {"nodes": nodes, "pagesize_kb": cells[-1].page_kib if cells else None}
