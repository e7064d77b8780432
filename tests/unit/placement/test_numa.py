"""NUMA cells, pinning and pages with Nova's rules: what is asked, whether it fits, and where."""

import re
from typing import Any

import pytest

from control.placement.numa import GuestCell, Ratios, guest_cells, place, placements
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

    def test_an_image_says_what_its_flavor_does_not(self) -> None:
        assert len(cells(image={"hw_numa_nodes": "4"})) == 4
        assert cells(image={"hw_cpu_policy": "dedicated"}) == (GuestCell(0, 4096, dedicated=cpus(0, 1, 2, 3)),)
        (cell,) = cells(image={"hw_mem_page_size": "2MB"}, mem_page_size="large")
        assert cell.pages == 2048
        (cell,) = cells(image={"hw_cpu_thread_policy": "isolate"}, cpu_policy="dedicated", cpu_thread_policy="prefer")
        assert cell.threads == "isolate"

    @pytest.mark.parametrize(
        ("size", "kib"),
        [("2048", 2048), ("2MB", 2048), ("2Mi", 2048), ("2M", 2048), ("1GB", 1 << 20), ("8Mb", 1024), ("4096B", 4)],
    )
    def test_sizes_of_pages(self, size: str, kib: int) -> None:
        (cell,) = cells(mem_page_size=size)
        assert cell.pages == kib

    def test_resource_amounts_and_traits_say_the_same(self) -> None:
        def other(**specs: str) -> Any:
            return guest_cells(4, 4096, {name.replace("__", ":"): value for name, value in specs.items()}, {})

        assert other(resources__PCPU="4") == cells(cpu_policy="dedicated")
        assert other(resources__PCPU="4", trait__HW_CPU_HYPERTHREADING="forbidden") == cells(
            cpu_policy="dedicated", cpu_thread_policy="isolate"
        )
        assert other(resources__PCPU="5", hw__emulator_threads_policy="isolate") == cells(
            cpu_policy="dedicated", emulator_threads_policy="isolate"
        )
        assert other(resources__VCPU="4") == ()

    def test_realtime_processors_of_a_mix_are_dedicated(self) -> None:
        (cell,) = cells(cpu_policy="mixed", cpu_realtime="yes", cpu_realtime_mask="^0")
        assert (cell.shared, cell.dedicated) == (cpus(0), cpus(1, 2, 3))

    @pytest.mark.parametrize(
        ("specs", "image", "said"),
        [
            ({"numa_nodes": "0"}, {}, "The property 'numa_nodes' cannot be '0'. It must be a number greater than 0"),
            ({"numa_nodes": "x"}, {}, "cannot be 'x'"),
            (
                {"numa_nodes": "2"},
                {"numa_nodes": "2"},
                "'hw_numa_nodes' is not permitted to override NUMA configuration",
            ),
            ({"numa_nodes": "3"}, {}, "cannot be evenly distributed across instance NUMA nodes"),
            ({"numa_nodes": "2", "numa_cpus.0": "0,1"}, {}, "must be provided for all NUMA nodes"),
            ({"numa_nodes": "1", "numa_cpus.0": "0-2", "numa_mem.0": "4096"}, {}, "CPU number {3} is not assigned"),
            ({"numa_nodes": "1", "numa_cpus.0": "0-4", "numa_mem.0": "4096"}, {}, "CPU number 4 is larger than max 3"),
            (
                {"numa_nodes": "2", "numa_cpus.0": "0-2", "numa_mem.0": "1", "numa_cpus.1": "2", "numa_mem.1": "1"},
                {},
                "CPU number 2 is assigned to two nodes",
            ),
            (
                {"numa_nodes": "1", "numa_cpus.0": "0-3", "numa_mem.0": "1"},
                {},
                "1 MB of memory assigned, but expected 4096 MB",
            ),
            ({"numa_nodes": "1", "numa_cpus.0": "0-3", "numa_mem.0": "x"}, {}, "numa_mem is x"),
            ({"numa_nodes": "1", "numa_cpus.0": "3-0", "numa_mem.0": "1"}, {}, "Invalid range expression '3-0'"),
            (
                {"numa_nodes": "1", "numa_cpus.0": "0-3", "numa_mem.0": "4096"},
                {"numa_cpus.0": "0-3"},
                "'hw_numa_cpus' is not permitted",
            ),
            (
                {"cpu_policy": "nobody"},
                {},
                "CPU policy requested from 'flavor extra specs' is invalid, given: 'nobody', "
                "available: '('dedicated', 'shared', 'mixed')'.",
            ),
            ({}, {"cpu_policy": "nobody"}, "CPU policy requested from 'image properties' is invalid"),
            ({"cpu_policy": "shared"}, {"cpu_policy": "dedicated"}, "'hw_cpu_policy' is not permitted to override"),
            ({"cpu_policy": "mixed"}, {"cpu_policy": "dedicated"}, "'hw_cpu_policy' is not permitted to override"),
            ({"cpu_policy": "mixed"}, {}, "can not be specified at the same time, or be specified with none of them"),
            ({"cpu_policy": "mixed", "cpu_dedicated_mask": "0-3"}, {}, "at least 1 pinned vCPU and 1 unpinned vCPU"),
            ({"cpu_policy": "mixed", "cpu_dedicated_mask": "3-4"}, {}, "is not a subset of vCPUs in the flavor"),
            ({"cpu_policy": "dedicated", "cpu_dedicated_mask": "0"}, {}, "without the 'mixed' policy"),
            ({"cpu_dedicated_mask": "0"}, {}, "without the 'mixed' policy"),
            ({"cpu_thread_policy": "require", "numa_nodes": "1"}, {}, "Cannot set cpu thread pinning policy in a non"),
            ({"cpu_policy": "dedicated", "cpu_thread_policy": "never"}, {}, "CPU thread policy requested from 'flavor"),
            (
                {"cpu_policy": "dedicated", "cpu_thread_policy": "require"},
                {"cpu_thread_policy": "isolate"},
                "'hw_cpu_thread_policy' is not permitted to override",
            ),
            ({"emulator_threads_policy": "isolate"}, {}, "requires a dedicated CPU policy option"),
            (
                {"emulator_threads_policy": "apart"},
                {},
                "CPU emulator threads option requested is invalid, given: 'apart'",
            ),
            ({"cpu_realtime": "true", "cpu_realtime_mask": "^0"}, {}, "Cannot set realtime policy in a non dedicated"),
            ({"cpu_policy": "dedicated", "cpu_realtime": "true"}, {}, "at least 1 RT vCPU and 1 ordinary vCPU"),
            ({"mem_page_size": "huge"}, {}, "Invalid memory page size 'huge'"),
            ({"mem_page_size": "0"}, {}, "Invalid memory page size '0'"),
            ({"mem_page_size": "1B"}, {}, "Invalid memory page size '1B'"),
            ({}, {"mem_page_size": "large"}, "Page size large forbidden against '<empty>'"),
            ({"mem_page_size": "small"}, {"mem_page_size": "2MB"}, "Page size 2MB forbidden against 'small'"),
        ],
    )
    def test_what_cannot_be(self, specs: dict[str, str], image: dict[str, str], said: str) -> None:
        with pytest.raises(BadRequest, match=re.escape(said)):
            cells(image={f"hw_{name}": value for name, value in image.items()}, **specs)

    @pytest.mark.parametrize(
        ("specs", "said"),
        [
            ({"resources:PCPU": "4", "hw:cpu_policy": "dedicated"}, "in combination with the 'hw:cpu_policy'"),
            ({"resources:PCPU": "4", "resources1:VCPU": "1"}, "both 'resources:VCPU' and 'resources:PCPU'"),
            ({"resources:PCPU": "3"}, "exactly flavor.vcpus PCPUs"),
            ({"resources:PCPU": "4", "hw:emulator_threads_policy": "isolate"}, "exactly flavor.vcpus + 1 PCPUs"),
            (
                {
                    "hw:cpu_policy": "dedicated",
                    "hw:cpu_thread_policy": "prefer",
                    "trait:HW_CPU_HYPERTHREADING": "required",
                },
                "in combination with the 'hw:cpu_thread_policy'",
            ),
        ],
    )
    def test_amounts_and_traits_that_contradict(self, specs: dict[str, str], said: str) -> None:
        with pytest.raises(BadRequest, match=re.escape(said)):
            guest_cells(4, 4096, specs, {})


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

    def test_the_emulator_takes_what_the_pins_leave(self) -> None:
        odd = threaded(0, 3, pinned=cpus(1))
        (guest,) = cells(4, cpu_policy="dedicated", cpu_thread_policy="require", emulator_threads_policy="isolate")
        placed = place(guest, odd)
        assert placed is not None
        assert ([cpu for _, cpu in placed.pins], placed.taken) == ([2, 3, 4, 5], cpus(0, 2, 3, 4, 5))
        assert placed.emulator == cpus(0)

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

    def test_pinned_guests_share_no_memory(self) -> None:
        host = NumaCell(0, 8192, dedicated=cpus(0, 1), memory_used_mb=8000)
        (guest,) = cells(2, 1024, cpu_policy="dedicated")
        assert place(guest, host, Ratios(memory=1.5)) is None

    def test_huge_pages_are_no_ordinary_memory(self) -> None:
        host = NumaCell(0, 8192, cpus(0, 1), pages=(Pages(4, 524288), Pages(1 << 20, 6)))
        (small,), (large,) = cells(2, 2048, numa_nodes="1"), cells(2, 3072, numa_nodes="1")
        assert place(small, host) is not None
        assert place(large, host) is None


def test_the_emptiest_cells_come_first_and_those_with_devices_last() -> None:
    host = [threaded(0, 2, pinned=cpus(0)), threaded(4, 2), threaded(8, 2, memory_used_mb=1)]
    guest = cells(2, cpu_policy="dedicated")
    assert [p.host_cell for (p,) in placements(guest, host)] == [4, 8, 0]
    assert [p.host_cell for (p,) in placements(guest, host, spare=[4])] == [8, 0, 4]
