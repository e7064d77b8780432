"""NUMA cells of a guest and their places on a host: Nova's rules for `hw:numa_*`, `hw:cpu_*` and `hw:mem_page_size`.

Pure: what is asked, from flavor and image; and whether, and where, a host's free cells hold it.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Literal

from attrs import frozen

from schemas.errors import BadRequest
from schemas.topology import NumaCell

ThreadPolicy = Literal["prefer", "isolate", "require"]
PageRequest = int | Literal["small", "large", "any"] | None
"""KiB, or which of the host's sizes; None: memory is not counted in pages"""

UNITS: Final = {"": 1, "KB": 1, "K": 1, "KIB": 1, "MB": 1024, "M": 1024, "MIB": 1024, "GB": 1 << 20, "G": 1 << 20}
SMALLEST_KIB: Final = 4


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


@frozen
class Placed:
    """A guest's cell in a host's: what each of its dedicated processors is pinned to, which of the host's are `taken`
    from all others, and the size of its pages."""

    cell: int
    host_cell: int
    pins: tuple[tuple[int, int], ...] = ()
    taken: frozenset[int] = frozenset()
    page_kib: int | None = None


@frozen
class Ratios:
    """How often a shared processor and memory that is not in pages may be given away."""

    cpu: float = 1.0
    memory: float = 1.0


def guest_cells(
    vcpus: int, memory_mb: int, extra_specs: Mapping[str, str], properties: Mapping[str, str]
) -> tuple[GuestCell, ...]:
    """What a flavor and its image ask; none when NUMA does not matter to them. Raises BadRequest for what cannot be."""

    def asked(name: str) -> str | None:
        return extra_specs.get(f"hw:{name}") or properties.get(f"hw_{name}")

    policy, pages = asked("cpu_policy") or "shared", _page_request(asked("mem_page_size"))
    count = asked("numa_nodes")
    if count is None and policy == "shared" and pages is None:
        return ()
    cells = _number("numa_nodes", count or "1")
    if cells < 1:
        raise BadRequest(f"hw:numa_nodes is {cells}: it must be at least 1")
    dedicated = _dedicated(policy, asked("cpu_dedicated_mask"), vcpus)
    threads = asked("cpu_thread_policy") or "prefer"
    if threads not in ("prefer", "isolate", "require"):
        raise BadRequest(f"hw:cpu_thread_policy is {threads}: it is prefer, isolate or require")
    if threads != "prefer" and not dedicated:
        raise BadRequest("hw:cpu_thread_policy needs hw:cpu_policy=dedicated")
    isolated = 1 if asked("emulator_threads_policy") == "isolate" else 0
    found = []
    for n, (cpus, memory) in enumerate(_shares(cells, vcpus, memory_mb, asked)):
        own = cpus & dedicated
        found.append(
            GuestCell(n, memory, cpus - own, own, threads, pages, isolated if n == 0 and own else 0)  # type: ignore[arg-type]  # checked above
        )
    return tuple(found)


def placements(
    guest: Sequence[GuestCell], host: Sequence[NumaCell], ratios: Ratios = Ratios()
) -> Iterator[tuple[Placed, ...]]:
    """Every way to place each cell of the guest in another of the host's, those with most free memory first."""
    order = sorted(host, key=lambda c: (c.memory_used_mb - c.memory_mb, c.id))
    yield from _extended((), list(guest), order, ratios)


def _extended(
    begun: tuple[Placed, ...], left: list[GuestCell], host: list[NumaCell], ratios: Ratios
) -> Iterator[tuple[Placed, ...]]:
    if not left:
        yield begun
        return
    for cell in host:
        placed = place(left[0], cell, ratios)
        if placed is not None:
            yield from _extended((*begun, placed), left[1:], [c for c in host if c is not cell], ratios)


def place(guest: GuestCell, host: NumaCell, ratios: Ratios = Ratios()) -> Placed | None:
    """One cell in one cell, or None."""
    if guest.memory_mb > host.memory_mb or len(guest.shared) > len(host.cpus):
        return None  # not even alone, whatever the ratios
    if guest.shared and host.cpus_used + len(guest.shared) > len(host.cpus) * ratios.cpu:
        return None
    pins: tuple[tuple[int, int], ...] = ()
    taken: frozenset[int] = frozenset()
    if guest.dedicated:
        chosen = _pinned(guest, host)
        if chosen is None:
            return None
        pins = tuple(zip(sorted(guest.dedicated), chosen, strict=False))
        taken = frozenset(chosen)
        if guest.threads == "isolate":
            taken = frozenset().union(*(core for core in host.cores if core & taken))
    if guest.pages is None:
        if host.memory_used_mb + guest.memory_mb > host.memory_mb * ratios.memory:
            return None
        return Placed(guest.id, host.id, pins, taken)
    size = _page_size(guest, host)
    return None if size is None else Placed(guest.id, host.id, pins, taken, size)


def _pinned(guest: GuestCell, host: NumaCell) -> list[int] | None:
    """The host's processors for the cell's dedicated ones, then for its emulator, as its thread policy wants them."""
    wanted, cores = len(guest.dedicated) + guest.emulator, host.free_cores
    if guest.threads == "isolate":
        # One thread of each core that is free as a whole: its other threads stay empty.
        usable = [min(core) for core in host.cores if core.isdisjoint(host.pinned)]
    elif guest.threads == "require":
        if not host.has_threads:
            return None
        usable = _by_threads(cores, wanted, least=2)
    else:
        usable = _by_threads(cores, wanted, least=1) or [cpu for core in cores for cpu in sorted(core)]
    return usable[:wanted] if len(usable) >= wanted else None


def _by_threads(cores: Sequence[frozenset[int]], wanted: int, least: int) -> list[int]:
    """Processors from cores of which the same number of threads is used, the largest number that suffices."""
    for threads in range(max(map(len, cores), default=0), least - 1, -1):
        fit = [core for core in cores if len(core) >= threads]
        if threads * len(fit) >= wanted:
            return [cpu for core in fit for cpu in sorted(core)[:threads]]
    return []


def _page_size(guest: GuestCell, host: NumaCell) -> int | None:
    """The size of pages that hold the cell's memory, or None. `any` and `large` try large ones first."""
    sizes = sorted(host.pages, key=lambda p: -p.size_kib)
    match guest.pages:
        case "small":
            sizes = sizes[-1:]
        case "large":
            sizes = sizes[:-1] if len(sizes) > 1 else []
        case int():
            sizes = [p for p in sizes if p.size_kib == guest.pages]
        case _:
            pass
    memory = guest.memory_mb * 1024
    for pages in sizes:
        if memory % pages.size_kib == 0 and memory // pages.size_kib <= pages.free:
            return pages.size_kib
    return None


def _page_request(text: str | None) -> PageRequest:
    if text is None:
        return None
    if text in ("small", "large", "any"):
        return text  # type: ignore[return-value]  # one of the literals
    match = re.fullmatch(r"(\d+)\s*([A-Za-z]*)", text)
    if match is None or match[2].upper() not in UNITS or int(match[1]) < 1:
        raise BadRequest(f"hw:mem_page_size is {text}: it is small, large, any or a size such as 2MB")
    return int(match[1]) * UNITS[match[2].upper()]


def _dedicated(policy: str, mask: str | None, vcpus: int) -> frozenset[int]:
    everything = frozenset(range(vcpus))
    match policy:
        case "shared":
            return frozenset()
        case "dedicated":
            return everything
        case "mixed":
            chosen = cpu_set(mask or "", everything)
            if not chosen or chosen >= everything:
                raise BadRequest("hw:cpu_policy=mixed needs hw:cpu_dedicated_mask to choose some processors, not all")
            return chosen & everything
    raise BadRequest(f"hw:cpu_policy is {policy}: it is shared, dedicated or mixed")


def cpu_set(text: str, everything: frozenset[int] = frozenset()) -> frozenset[int]:
    """`0-3,^2,8`; a set that begins with an exclusion excludes from `everything`. Raises BadRequest."""
    parts = [p.strip() for p in text.split(",") if p.strip()]
    found: set[int] = set(everything) if parts and parts[0].startswith("^") else set()
    out: set[int] = set()
    for part in parts:
        match = re.fullmatch(r"(\^?)(\d+)(?:-(\d+))?", part)
        if match is None:
            raise BadRequest(f"{text} is no set of processors: write such as 0-3,^2")
        numbers = range(int(match[2]), int(match[3] or match[2]) + 1)
        (out if match[1] else found).update(numbers)
    return frozenset(found - out)


def _shares(
    cells: int, vcpus: int, memory_mb: int, asked: Callable[[str], str | None]
) -> list[tuple[frozenset[int], int]]:
    """Processors and memory of each cell: as said for each, or equal shares of all."""
    said = [(asked(f"numa_cpus.{n}"), asked(f"numa_mem.{n}")) for n in range(cells)]
    if all(cpus is None and memory is None for cpus, memory in said):
        if vcpus % cells or memory_mb % cells:
            raise BadRequest("The flavor's processors and memory do not divide evenly by hw:numa_nodes")
        share = vcpus // cells
        return [(frozenset(range(n * share, (n + 1) * share)), memory_mb // cells) for n in range(cells)]
    if any(cpus is None or memory is None for cpus, memory in said):
        raise BadRequest("hw:numa_cpus.N and hw:numa_mem.N are given for every cell or for none")
    found = [(cpu_set(cpus or ""), _number("numa_mem", memory or "")) for cpus, memory in said]
    given = [cpu for cpus, _ in found for cpu in cpus]
    if sorted(given) != list(range(vcpus)) or sum(memory for _, memory in found) != memory_mb:
        raise BadRequest("hw:numa_cpus.N and hw:numa_mem.N do not add up to the flavor's processors and memory")
    return found


def _number(name: str, text: str) -> int:
    if not text.isdecimal():
        raise BadRequest(f"hw:{name} is {text}: it is a number")
    return int(text)
