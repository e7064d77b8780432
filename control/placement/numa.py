"""Places of a guest's NUMA cells on a host: Nova's rules for pinning, threads, pages and what may be given twice.

Pure: whether, and where, a host's free cells hold the guest's.
"""

from collections.abc import Collection, Iterator, Sequence

from attrs import frozen

from control.placement.guest_cells import GuestCell, PageRequest, guest_cells
from control.placement.pinning import ThreadPolicy
from schemas.topology import NumaCell, Pages

__all__ = [
    "GuestCell",
    "PageRequest",
    "Placed",
    "Ratios",
    "ThreadPolicy",
    "guest_cells",
    "place",
    "placements",
]


@frozen
class Placed:
    """A guest's cell in a host's: what each of its dedicated processors is pinned to, which of the host's are `taken`
    from all others, the size of its pages, and which of those taken are its emulator's."""

    cell: int
    host_cell: int
    pins: tuple[tuple[int, int], ...] = ()
    taken: frozenset[int] = frozenset()
    page_kib: int | None = None
    emulator: frozenset[int] = frozenset()


@frozen
class Ratios:
    """How often a shared processor and memory may be given away; a cell with pinned processors shares no memory."""

    cpu: float = 1.0
    memory: float = 1.0


def placements(
    guest: Sequence[GuestCell], host: Sequence[NumaCell], ratios: Ratios = Ratios(), spare: Collection[int | None] = ()
) -> Iterator[tuple[Placed, ...]]:
    """Every way to place each cell of the guest in another of the host's, those with most free processors first.
    `spare` are the host's cells that are better left to others, such as those with devices."""
    order = list(host)
    if len(host) > len(guest):
        pinned = any(_is_pinned(cell) for cell in guest)
        order.sort(key=lambda c: (-_free_processors(c, pinned), c.memory_used_mb - c.memory_mb, c.id))
    yield from _extended((), list(guest), sorted(order, key=lambda c: c.id in spare), ratios)


def place(guest: GuestCell, host: NumaCell, ratios: Ratios = Ratios()) -> Placed | None:
    """One cell in one cell, or None."""
    pinned = _is_pinned(guest)
    if guest.memory_mb > host.memory_mb or len(guest.shared) > len(host.cpus):
        return None  # not even alone, whatever the ratios
    if guest.shared and host.cpus_used + len(guest.shared) > len(host.cpus) * ratios.cpu:
        return None
    if host.memory_used_mb + guest.memory_mb > host.memory_mb * (1.0 if pinned else ratios.memory):
        return None
    size = None
    if guest.pages is not None:
        size = _page_size(guest, host)
        if size is None:
            return None
    elif host.pages and not _lies_in(guest.memory_mb, _smallest(host), _smallest(host).total):
        return None  # what is set aside as huge pages is no ordinary memory
    taken = _pinned(guest, host) if pinned else []
    if taken is None:
        return None
    count, alone = len(guest.dedicated), frozenset(taken)
    pins = zip(sorted(guest.dedicated), taken[:count], strict=True)
    if guest.threads == "isolate":
        alone = frozenset().union(*(core for core in host.cores if core & alone))
    return Placed(guest.id, host.id, tuple(pins), alone, size, frozenset(taken[count:]))


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


def _is_pinned(guest: GuestCell) -> bool:
    return bool(guest.dedicated or guest.emulator)


def _free_processors(cell: NumaCell, pinned: bool) -> int:
    return len(cell.dedicated - cell.pinned) if pinned else len(cell.cpus) - cell.cpus_used


def _pinned(guest: GuestCell, host: NumaCell) -> list[int] | None:
    """The host's processors for the guest's dedicated ones, as its thread policy wants them, then for its emulator."""
    wanted, cores = len(guest.dedicated), host.free_cores
    everything = [cpu for core in cores for cpu in sorted(core)]
    widest = max(map(len, cores), default=0)
    match guest.threads:
        case "isolate":
            # One thread of each core that is free as a whole; the guest takes the others too. Where cores have several
            # it is kept away by a trait already, as in Nova.
            everything = [min(core) for core in host.cores if core.isdisjoint(host.pinned)]
            choices = [everything]
        case "require":
            choices = [_by_threads(cores, threads) for threads in range(widest, 1, -1)] if host.has_threads else []
        case "prefer":
            choices = [*(_by_threads(cores, threads) for threads in range(widest, 0, -1)), everything]
    for usable in choices:
        pins = usable[:wanted]
        rest = [cpu for cpu in everything if cpu not in pins]
        if len(pins) == wanted and len(rest) >= guest.emulator:
            return pins + rest[: guest.emulator]
    return None


def _by_threads(cores: Sequence[frozenset[int]], threads: int) -> list[int]:
    """So many processors of each core that has them."""
    return [cpu for core in cores if len(core) >= threads for cpu in sorted(core)[:threads]]


def _page_size(guest: GuestCell, host: NumaCell) -> int | None:
    """The size of pages that hold the cell's memory, or None. `any` and `large` try large ones first."""
    sizes = sorted(host.pages, key=lambda p: -p.size_kib)
    match guest.pages:
        case "small":
            sizes = sizes[-1:]
        case "large":
            sizes = sizes[:-1]
        case int():
            sizes = [p for p in sizes if p.size_kib == guest.pages]
        case _:
            pass
    return next((p.size_kib for p in sizes if _lies_in(guest.memory_mb, p, p.free)), None)


def _lies_in(memory_mb: int, pages: Pages, count: int) -> bool:
    return memory_mb * 1024 % pages.size_kib == 0 and memory_mb * 1024 // pages.size_kib <= count


def _smallest(host: NumaCell) -> Pages:
    return min(host.pages, key=lambda p: p.size_kib)
