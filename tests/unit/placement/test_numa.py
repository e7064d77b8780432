"""NUMA cells, pinning and pages with Nova's rules: what is asked, whether it fits, and where."""

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.placement.numa import GuestCell, Ratios, cpu_set, guest_cells, place, placements
from schemas.errors import BadRequest
from schemas.topology import NumaCell, Pages


def cells(vcpus: int = 4, memory: int = 4096, image: dict[str, str] | None = None, **specs: str) -> Any:
    return guest_cells(vcpus, memory, {f"hw:{k}": v for k, v in specs.items()}, image or {})


def cpus(*numbers: int) -> frozenset[int]:
    return frozenset(numbers)


def threaded(first: int, cores: int, **more: Any) -> NumaCell:
    """Cores of two threads each, all dedicated; core n has the threads first + 2n and first + 2n + 1."""
    siblings = tuple(cpus(first + 2 * n, first + 2 * n + 1) for n in range(cores))
    more = {"dedicated": frozenset().union(*siblings), **more}
    return NumaCell(first, 8192, siblings=siblings, **more)


class TestWhatIsAsked:
    def test_nothing_unless_numa_matters(self) -> None:
        assert cells() == cells(cpu_policy="shared") == ()

    def test_equal_shares(self) -> None:
        assert cells(numa_nodes="2") == (GuestCell(0, 2048, cpus(0, 1)), GuestCell(1, 2048, cpus(2, 3)))

    def test_shares_of_its_own(self) -> None:
        specs = {
            "numa_nodes": "2",
            "numa_cpus.0": "0-2",
            "numa_mem.0": "1024",
            "numa_cpus.1": "3",
            "numa_mem.1": "3072",
        }
        assert cells(**specs) == (GuestCell(0, 1024, cpus(0, 1, 2)), GuestCell(1, 3072, cpus(3)))

    def test_pinning_and_pages_mean_one_cell(self) -> None:
        assert cells(cpu_policy="dedicated") == (GuestCell(0, 4096, dedicated=cpus(0, 1, 2, 3)),)
        assert cells(mem_page_size="2MB") == (GuestCell(0, 4096, cpus(0, 1, 2, 3), pages=2048),)
        assert cells(mem_page_size="1048576") == (GuestCell(0, 4096, cpus(0, 1, 2, 3), pages=1 << 20),)

    def test_a_mix_and_isolated_emulator_threads(self) -> None:
        (mixed,) = cells(cpu_policy="mixed", cpu_dedicated_mask="^0-1", emulator_threads_policy="isolate")
        assert (mixed.shared, mixed.dedicated, mixed.emulator) == (cpus(0, 1), cpus(2, 3), 1)

    def test_the_flavor_wins_over_the_image(self) -> None:
        assert len(cells(image={"hw_numa_nodes": "4"}, numa_nodes="2")) == 2
        assert len(cells(image={"hw_numa_nodes": "4"})) == 4

    @pytest.mark.parametrize(
        "specs",
        [
            {"numa_nodes": "0"},
            {"numa_nodes": "x"},
            {"numa_nodes": "3"},
            {"numa_nodes": "2", "numa_cpus.0": "0,1"},
            {"numa_nodes": "1", "numa_cpus.0": "0-2", "numa_mem.0": "4096"},
            {"numa_nodes": "1", "numa_cpus.0": "0-3", "numa_mem.0": "1"},
            {"cpu_policy": "nobody"},
            {"cpu_policy": "mixed"},
            {"cpu_policy": "mixed", "cpu_dedicated_mask": "0-3"},
            {"cpu_thread_policy": "require", "numa_nodes": "1"},
            {"cpu_policy": "dedicated", "cpu_thread_policy": "never"},
            {"mem_page_size": "huge"},
            {"mem_page_size": "0"},
        ],
    )
    def test_what_cannot_be(self, specs: dict[str, str]) -> None:
        with pytest.raises(BadRequest):
            cells(**specs)

    def test_sets_of_processors(self) -> None:
        assert cpu_set("0-3,^2,8") == cpus(0, 1, 3, 8)
        with pytest.raises(BadRequest):
            cpu_set("one")


class TestPinning:
    def pins(self, host: NumaCell, vcpus: int, **specs: str) -> list[int] | None:
        (guest,) = cells(vcpus, cpu_policy="dedicated", **specs)
        placed = place(guest, host)
        return None if placed is None else [cpu for _, cpu in placed.pins]

    def test_siblings_are_packed(self) -> None:
        assert self.pins(threaded(0, 4), 4) == [0, 1, 2, 3]

    def test_a_guest_that_finds_no_siblings_takes_what_there_is(self) -> None:
        half = threaded(0, 4, pinned=cpus(1, 3, 5, 7))
        assert self.pins(half, 4) == [0, 2, 4, 6]
        assert self.pins(half, 4, cpu_thread_policy="require") is None
        assert self.pins(half, 5) is None

    def test_require_takes_siblings_only(self) -> None:
        odd = threaded(0, 3, pinned=cpus(1))
        assert self.pins(odd, 4, cpu_thread_policy="require") == [2, 3, 4, 5]
        assert self.pins(odd, 5, cpu_thread_policy="require") is None
        assert self.pins(NumaCell(0, 8192, dedicated=cpus(0, 1)), 2, cpu_thread_policy="require") is None

    def test_isolate_takes_one_thread_of_each_free_core(self) -> None:
        assert self.pins(threaded(0, 4, pinned=cpus(1)), 3, cpu_thread_policy="isolate") == [2, 4, 6]
        assert self.pins(threaded(0, 4, pinned=cpus(1)), 4, cpu_thread_policy="isolate") is None
        assert self.pins(NumaCell(0, 8192, dedicated=cpus(4, 5)), 2, cpu_thread_policy="isolate") == [4, 5]

    def test_the_emulator_needs_a_processor_of_its_own(self) -> None:
        assert self.pins(threaded(0, 2), 4, emulator_threads_policy="isolate") is None
        assert self.pins(threaded(0, 2), 3, emulator_threads_policy="isolate") == [0, 1, 2]


class TestMemory:
    HOST = NumaCell(0, 8192, cpus(0, 1, 2, 3), pages=(Pages(4, 1 << 20), Pages(2048, 1024), Pages(1 << 20, 4, used=1)))

    @pytest.mark.parametrize(
        ("asked", "memory", "size"),
        [
            ("small", 4096, 4),
            ("large", 2048, 1 << 20),
            ("large", 4096, None),
            ("large", 2046, 2048),
            ("any", 4095, 4),
            ("2MB", 2048, 2048),
            ("2MB", 2047, None),
            ("2MB", 4096, None),
            ("1GB", 3072, 1 << 20),
            ("1GB", 4096, None),
            ("16MB", 1024, None),
        ],
    )
    def test_pages(self, asked: str, memory: int, size: int | None) -> None:
        (guest,) = cells(2, memory, mem_page_size=asked)
        placed = place(guest, self.HOST)
        assert (placed.page_kib if placed else None) == size

    def test_without_pages_ratios_count(self) -> None:
        host = NumaCell(0, 8192, cpus(0, 1), cpus_used=2, memory_used_mb=8000)
        (guest,) = cells(2, 1024, numa_nodes="1")
        assert place(guest, host) is None
        assert place(guest, host, Ratios(cpu=2.0, memory=1.5)) is not None
        (large,) = cells(4, 1024, numa_nodes="1")
        assert place(large, host, Ratios(cpu=16.0, memory=1.5)) is None, "not even alone"


numbers = st.integers(0, 4)
hosts = st.lists(
    st.builds(
        lambda n, cores, used, memory, shared: threaded(
            100 * n, cores, pinned=frozenset(100 * n + p for p in used), memory_used_mb=memory, cpus=shared
        ),
        st.just(0),
        st.integers(1, 4),
        st.frozensets(st.integers(0, 7), max_size=6),
        st.integers(0, 8192),
        st.just(frozenset()),
    ),
    min_size=1,
    max_size=3,
).map(lambda cs: [threaded_as(n, c) for n, c in enumerate(cs)])


def threaded_as(n: int, cell: NumaCell) -> NumaCell:
    """The same cell with numbers of its own."""
    shift = 100 * n
    return NumaCell(
        n,
        cell.memory_mb,
        dedicated=frozenset(c + shift for c in cell.dedicated),
        siblings=tuple(frozenset(c + shift for c in core) for core in cell.siblings),
        memory_used_mb=cell.memory_used_mb,
        pinned=frozenset(c + shift for c in cell.pinned),
    )


@given(hosts, st.integers(1, 3), st.integers(1, 3), st.sampled_from(["prefer", "isolate", "require"]))
def test_every_placement_is_sound_and_none_is_missed(host: list[NumaCell], count: int, each: int, policy: str) -> None:
    guest = cells(count * each, count * 1024, numa_nodes=str(count), cpu_policy="dedicated", cpu_thread_policy=policy)
    found = list(placements(guest, host))
    by_id = {c.id: c for c in host}
    for placed in found:
        assert len({p.host_cell for p in placed}) == count
        for one, cell in zip(placed, guest, strict=True):
            there = by_id[one.host_cell]
            taken = [cpu for _, cpu in one.pins]
            assert sorted(v for v, _ in one.pins) == sorted(cell.dedicated)
            assert len(set(taken)) == len(taken)
            assert set(taken) <= there.dedicated - there.pinned
            cores = [core for core in there.siblings if core & set(taken)]
            if policy == "isolate":
                assert len(cores) == len(taken)
                assert all(core.isdisjoint(there.pinned) for core in cores)
            if policy == "require":
                assert all(core.isdisjoint(there.pinned) for core in cores)
    brute = any(
        all(_fits(g, c, policy) for g, c in zip(guest, chosen, strict=True)) for chosen in permutations(host, count)
    )
    assert bool(found) == brute


def _fits(guest: GuestCell, host: NumaCell, policy: str) -> bool:
    """By counting alone."""
    whole = sum(core.isdisjoint(host.pinned) for core in host.siblings)
    free = {"prefer": len(host.dedicated - host.pinned), "isolate": whole, "require": 2 * whole}[policy]
    return free >= len(guest.dedicated) and host.memory_used_mb + guest.memory_mb <= host.memory_mb
