"""What libvirt's capabilities say of a host's NUMA cells. Pure."""

from xml.etree import ElementTree

from agents.drivers.processors import Processors
from schemas.topology import NumaCell, Pages, cpu_set


def numa_cells(capabilities: str, offered: Processors) -> tuple[NumaCell, ...]:
    """With the processors that are offered; none when the host has no NUMA. What guests use is nobody's knowledge
    here."""
    cells = ElementTree.fromstring(capabilities).iterfind("host/topology/cells/cell")
    return tuple(_cell(cell, offered) for cell in cells)


def has_threads(capabilities: str) -> bool:
    """Whether any core has several, offered or not."""
    cpus = ElementTree.fromstring(capabilities).iterfind("host/topology/cells/cell/cpus/cpu")
    return any(len(_siblings(cpu)) > 1 for cpu in cpus)


def _cell(cell: ElementTree.Element, offered: Processors) -> NumaCell:
    cpus = cell.findall("cpus/cpu")
    here = frozenset(int(cpu.get("id", "-1")) for cpu in cpus)
    shared, dedicated = here & offered.shared, here & offered.dedicated
    cores = {_siblings(cpu) & (shared | dedicated) for cpu in cpus}
    sockets = {int(cpu.get("socket_id", "-1")) for cpu in cpus if cpu.get("socket_id")}
    return NumaCell(
        int(cell.get("id", "0")),
        _kib(cell.find("memory")) // 1024,
        shared,
        dedicated,
        tuple(sorted((core for core in cores if len(core) > 1), key=sorted)),
        tuple(
            Pages(int(pages.get("size", "0")), int(pages.text or "0"))
            for pages in cell.iterfind("pages")
            if pages.get("unit", "KiB") == "KiB"
        ),
        socket=sockets.pop() if len(sockets) == 1 else None,
    )


def _siblings(cpu: ElementTree.Element) -> frozenset[int]:
    """A processor that is offline has none."""
    return cpu_set(cpu.get("siblings", ""))


def _kib(memory: ElementTree.Element | None) -> int:
    return int(memory.text or "0") if memory is not None else 0
