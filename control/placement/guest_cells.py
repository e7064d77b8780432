"""NUMA cells that a flavor and an image ask for: Nova's rules for `hw:numa_*` and `hw:mem_page_size`. Pure.

Raises BadRequest, in Nova's words, for what cannot be.
"""

import re
from collections.abc import Mapping
from itertools import count, takewhile
from typing import Final, Literal

from attrs import frozen

from control.placement.pinning import Specs, ThreadPolicy, masked, pinning_of
from schemas.errors import BadRequest

PageRequest = int | Literal["small", "large", "any"] | None
"""KiB, or which of the host's sizes; None: memory is not counted in pages"""

_POWERS: Final[Mapping[str, int]] = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


@frozen
class GuestCell:
    """One NUMA cell of a guest: its processors by number, and how they are to be placed."""

    id: int
    memory_mb: int
    shared: frozenset[int] = frozenset()
    dedicated: frozenset[int] = frozenset()
    threads: ThreadPolicy = "prefer"
    pages: PageRequest = None
    emulator: int = 0
    """dedicated processors more, for the emulator's own threads"""


def guest_cells(vcpus: int, memory_mb: int, extra_specs: Specs, properties: Specs) -> tuple[GuestCell, ...]:
    """None when NUMA does not matter to them. The emulator's own processor is near the first cell."""
    pinning = pinning_of(vcpus, extra_specs, properties)
    nodes, pages = _nodes(extra_specs, properties), _pages(extra_specs, properties)
    if nodes is None and pages is None and not pinning.dedicated:
        return ()
    return tuple(
        GuestCell(
            number,
            memory,
            cpus - pinning.dedicated,
            cpus & pinning.dedicated,
            pinning.threads,
            pages,
            0 if number else pinning.emulator,
        )
        for number, (cpus, memory) in enumerate(_shares(nodes or 1, vcpus, memory_mb, extra_specs, properties))
    )


def _nodes(specs: Specs, properties: Specs) -> int | None:
    ours, theirs = specs.get("hw:numa_nodes"), properties.get("hw_numa_nodes")
    if ours and theirs:
        raise _forbidden("hw_numa_nodes")
    text = ours or theirs
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]*[1-9][0-9]*", text):
        raise BadRequest(f"The property 'numa_nodes' cannot be '{text}'. It must be a number greater than 0")
    return int(text)


def _pages(specs: Specs, properties: Specs) -> PageRequest:
    """An image chooses a size only where its flavor leaves the choice."""
    ours, theirs = specs.get("hw:mem_page_size"), properties.get("hw_mem_page_size")
    if not ours:
        if theirs:
            raise BadRequest(f"Page size {theirs} forbidden against '<empty>'")
        return None
    asked = _size(ours)
    if not theirs:
        return asked
    if asked not in ("any", "large"):
        raise BadRequest(f"Page size {theirs} forbidden against '{ours}'")
    return _size(theirs)


def _size(text: str) -> PageRequest:
    if text in ("small", "large", "any"):
        return text  # type: ignore[return-value]  # one of the literals
    match = re.fullmatch(r"(\d+)(?:([kKMGT]?)(i?)(b|bit|B)?)", text)
    if match is None:
        raise BadRequest(f"Invalid memory page size '{text}'")
    number, unit, _, of = match.groups()
    bits = int(number) * 1024 ** _POWERS[unit.lower()] * (1 if of in ("b", "bit") else 8)
    kib = int(number) if text.isdecimal() else bits / 8192
    if kib < 1 or kib != int(kib):
        raise BadRequest(f"Invalid memory page size '{text}'")
    return int(kib)


def _shares(
    nodes: int, vcpus: int, memory_mb: int, specs: Specs, properties: Specs
) -> list[tuple[frozenset[int], int]]:
    """Processors and memory of each cell: as said for each, or equal shares of all."""
    cpus, memories = _listed("numa_cpus", specs, properties), _listed("numa_mem", specs, properties)
    if not cpus and not memories:
        if vcpus % nodes or memory_mb % nodes:
            raise BadRequest(
                "Instance CPUs and/or memory cannot be evenly distributed across instance NUMA nodes. Explicit "
                "assignment of CPUs and memory to nodes is required"
            )
        share = vcpus // nodes
        return [(frozenset(range(n * share, (n + 1) * share)), memory_mb // nodes) for n in range(nodes)]
    if len(cpus) != nodes or len(memories) != nodes:
        raise BadRequest("CPU and memory allocation must be provided for all NUMA nodes")
    found = [(masked(one, vcpus), _number("numa_mem", other)) for one, other in zip(cpus, memories, strict=True)]
    _check_shares(found, vcpus, memory_mb)
    return found


def _listed(name: str, specs: Specs, properties: Specs) -> list[str]:
    """What is said of cell 0, 1 and so on, up to the first that nothing is said of."""
    ours, theirs = _run(f"hw:{name}", specs), _run(f"hw_{name}", properties)
    if ours and theirs:
        raise _forbidden(f"hw_{name}")
    return ours or theirs


def _run(name: str, specs: Specs) -> list[str]:
    texts = (specs.get(f"{name}.{number}") for number in count())
    return [text for text in takewhile(lambda text: text is not None, texts) if text is not None]


def _check_shares(found: list[tuple[frozenset[int], int]], vcpus: int, memory_mb: int) -> None:
    left = set(range(vcpus))
    for cpus, _ in found:
        for cpu in sorted(cpus):
            if cpu >= vcpus:
                raise BadRequest(f"CPU number {cpu} is larger than max {vcpus - 1}")
            if cpu not in left:
                raise BadRequest(f"CPU number {cpu} is assigned to two nodes")
            left.remove(cpu)
    if left:
        raise BadRequest(f"CPU number {left} is not assigned to any node")
    memory = sum(memory for _, memory in found)
    if memory != memory_mb:
        raise BadRequest(f"{memory} MB of memory assigned, but expected {memory_mb} MB")


def _number(name: str, text: str) -> int:
    if not text.isdecimal():
        raise BadRequest(f"hw:{name} is {text}: it is a number")
    return int(text)


def _forbidden(name: str) -> BadRequest:
    return BadRequest(f"Image property '{name}' is not permitted to override NUMA configuration set against the flavor")
