"""Placing guests in NUMA cells against brute force: whatever set of processors the rules allow is found, and nothing
that is placed, one guest after another, exceeds what there is."""

from itertools import combinations, permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from control.placement.numa import GuestCell, Placed, Ratios, place, placements
from control.placement.topology import free_cells
from schemas.topology import CellClaim, NumaCell, Pages, TopologyClaim

RATIOS = st.builds(Ratios, st.sampled_from([1.0, 1.5, 4.0]), st.sampled_from([1.0, 1.5]))
SIZES = (4, 2048, 1 << 20)


@st.composite
def cell(draw: st.DrawFn, number: int = 0) -> NumaCell:
    """Cores of one to three threads, each thread shared, dedicated or not offered; a few pages of each size."""
    threads, cores = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    every = [[100 * number + threads * core + thread for thread in range(threads)] for core in range(cores)]
    use = {cpu: draw(st.sampled_from(["shared", "dedicated", "dedicated", "none"])) for core in every for cpu in core}
    shared = frozenset(cpu for cpu, what in use.items() if what == "shared")
    dedicated = frozenset(cpu for cpu, what in use.items() if what == "dedicated")
    offered = [frozenset(core) & (shared | dedicated) for core in every]
    pages = tuple(Pages(size, draw(st.integers(0, 3 << 20) if size == 4 else st.integers(0, 4))) for size in SIZES)
    return NumaCell(
        number,
        draw(st.integers(2048, 6144)),
        shared,
        dedicated,
        tuple(core for core in offered if len(core) > 1),
        draw(st.sampled_from([pages, ()])),
        draw(st.integers(0, len(shared))),
        draw(st.sampled_from([0, 0, 1024, 2048])),
        pinned=frozenset(draw(st.sets(st.sampled_from(sorted(dedicated)))) if dedicated else ()),
    )


@st.composite
def guest(draw: st.DrawFn, number: int = 0) -> GuestCell:
    dedicated, shared = draw(st.integers(0, 4)), draw(st.integers(0, 2))
    return GuestCell(
        number,
        draw(st.sampled_from([2, 2, 1024, 1025, 2048, 4096])),
        frozenset(range(shared)),
        frozenset(range(shared, shared + dedicated)),
        draw(st.sampled_from(["prefer", "isolate", "require"])),
        draw(st.sampled_from([None, None, "small", "large", "any", 4, 2048, 1 << 20])),
        draw(st.integers(0, 1)) if dedicated else 0,
    )


HOST = st.tuples(cell(0), cell(1)).map(list)


def core_of(cpu: int, host: NumaCell) -> frozenset[int]:
    return next((core for core in host.siblings if cpu in core), frozenset({cpu}))


def allowed(pins: frozenset[int], guest: GuestCell, host: NumaCell) -> bool:
    """Whether the guest's dedicated processors may be pinned to just these, which are free."""
    if guest.threads == "prefer" or not pins:
        return True
    if guest.threads == "isolate":
        cores = {core_of(cpu, host) & host.dedicated for cpu in pins}
        return len(cores) == len(pins) and all(core.isdisjoint(host.pinned) for core in cores)
    # Cores of which the same number of threads is taken, two at least, but for one core that takes what is over.
    taken = {core: len(core & pins) for core in {core_of(cpu, host) for cpu in pins}}
    free = {core: len((core & host.dedicated) - host.pinned) for core in taken}
    return any(
        sum(count != threads for count in taken.values()) <= 1
        and all(count <= threads <= free[core] for core, count in taken.items())
        for threads in range(2, max(free.values(), default=0) + 1)
    )


def fits(guest: GuestCell, host: NumaCell, ratios: Ratios) -> bool:
    pinned = bool(guest.dedicated)
    memory, sizes = guest.memory_mb * 1024, sorted(p.size_kib for p in host.pages)
    tried = {"small": sizes[:1], "large": sizes[1:], "any": sizes}.get(str(guest.pages), [guest.pages])
    holding = [p for p in host.pages if p.size_kib in tried and memory % p.size_kib == 0]
    if guest.pages is not None and not any(memory <= (p.total - p.used) * p.size_kib for p in holding):
        return False
    if guest.pages is None and host.pages and memory > host.pages[0].total * 4:
        return False
    if guest.memory_mb > host.memory_mb or len(guest.shared) > len(host.cpus):
        return False
    if host.memory_used_mb + guest.memory_mb > host.memory_mb * (1 if pinned else ratios.memory):
        return False
    if guest.shared and host.cpus_used + len(guest.shared) > len(host.cpus) * ratios.cpu:
        return False
    free = host.dedicated - host.pinned
    if guest.threads == "isolate":
        free = frozenset(cpu for cpu in free if host.pinned.isdisjoint(core_of(cpu, host)))
        if len({core_of(cpu, host) for cpu in free}) < len(guest.dedicated) + guest.emulator:
            return False
    if len(free) < len(guest.dedicated) + guest.emulator:
        return False
    if guest.threads == "require" and pinned and not host.siblings:
        return False
    return not pinned or any(
        allowed(frozenset(pins), guest, host) for pins in combinations(sorted(free), len(guest.dedicated))
    )


def check(placed: Placed, guest: GuestCell, host: NumaCell) -> None:
    pins = frozenset(cpu for _, cpu in placed.pins)
    assert [own for own, _ in placed.pins] == sorted(guest.dedicated)
    assert len(pins) == len(placed.pins)
    cores = {core_of(cpu, host) for cpu in placed.taken} if guest.threads == "isolate" else placed.taken
    assert len(cores) == len(pins) + guest.emulator
    assert pins <= placed.taken <= host.dedicated - host.pinned
    assert not guest.dedicated or allowed(pins, guest, host)
    assert (placed.page_kib is None) == (guest.pages is None)
    assert not isinstance(guest.pages, int) or placed.page_kib == guest.pages


@settings(max_examples=400)
@given(cell(), guest(), RATIOS)
def test_a_cell_fits_where_brute_force_finds_a_place(host: NumaCell, asked: GuestCell, ratios: Ratios) -> None:
    placed = place(asked, host, ratios)
    assert (placed is not None) == fits(asked, host, ratios)
    if placed is not None:
        check(placed, asked, host)


@given(HOST, st.tuples(guest(0), guest(1)), RATIOS)
def test_cells_go_into_cells_of_their_own(
    host: list[NumaCell], asked: tuple[GuestCell, GuestCell], ratios: Ratios
) -> None:
    found = [tuple(p.host_cell for p in placed) for placed in placements(asked, host, ratios)]
    ways = [
        tuple(cell.id for cell in chosen)
        for chosen in permutations(host, 2)
        if all(fits(own, cell, ratios) for own, cell in zip(asked, chosen, strict=True))
    ]
    assert sorted(found) == sorted(ways)


@given(HOST, st.lists(guest(), max_size=12), RATIOS)
def test_guests_that_are_placed_one_after_another_never_exceed_the_host(
    empty: list[NumaCell], guests: list[GuestCell], ratios: Ratios
) -> None:
    host, taken = tuple(empty), 0
    by_size: dict[tuple[int, int], int] = {}
    for asked in guests:
        placed = next(placements((asked,), host, ratios), None)
        if placed is None:
            continue
        check(placed[0], asked, next(cell for cell in host if cell.id == placed[0].host_cell))
        there, size = placed[0].host_cell, placed[0].page_kib
        claim = CellClaim(0, there, asked.memory_mb, asked.shared, placed[0].pins, placed[0].taken, size)
        host = free_cells(host, [TopologyClaim((claim,))])
        taken += len(placed[0].taken)
        if size:
            by_size[there, size] = by_size.get((there, size), 0) + asked.memory_mb * 1024
    assert sum(len(cell.pinned) for cell in host) == taken + sum(len(cell.pinned) for cell in empty)
    for after, before in zip(host, empty, strict=True):
        assert after.pinned <= after.dedicated
        assert after.cpus_used <= len(after.cpus) * ratios.cpu
        assert after.memory_used_mb <= after.memory_mb * ratios.memory
        for pages in after.pages:
            assert by_size.get((after.id, pages.size_kib), 0) <= pages.total * pages.size_kib
        assert (after.cpus, after.dedicated, after.siblings) == (before.cpus, before.dedicated, before.siblings)
