"""What drivers report of processors, NUMA cells, pages and devices, by what the host says and its options offer."""

from typing import Any

import pytest
from attrs import evolve
from unit_host_shapes import DEVICES, NO_NUMA, OFFLINE, ONE_CELL, TWO_CELLS

from agents.drivers.devices import allowed, chosen, device_specs, pools
from agents.drivers.libvirt.node_devices import pci_devices
from agents.drivers.libvirt.topology import has_threads, numa_cells
from agents.drivers.processors import Processors, ProcessorSets, processor_sets
from agents.drivers.simulated_capacity import SimulatedCapacity, simulated_pools
from agents.role import AgentSetupError, drivers_of
from schemas.errors import HostFull
from schemas.settings import AgentSettings, ComputeSettings, DeviceSettings, SimulatedSettings
from schemas.topology import DeviceClaim, NumaCell, Pages, PciPool, cpu_set


def cpus(*numbers: int) -> frozenset[int]:
    return frozenset(numbers)


class TestProcessors:
    ONLINE = frozenset(range(8))

    @pytest.mark.parametrize(
        ("shared", "dedicated", "offered"),
        [
            ("", "", Processors(ONLINE)),
            ("0-3", "", Processors(cpus(0, 1, 2, 3))),
            ("", "4-7,^5", Processors(frozenset(), cpus(4, 6, 7))),
            ("0,1", "6-7", Processors(cpus(0, 1), cpus(6, 7))),
        ],
    )
    def test_what_is_offered(self, shared: str, dedicated: str, offered: Processors) -> None:
        """With a dedicated set alone nothing is left to share, as in Nova."""
        assert processor_sets(ComputeSettings(shared, dedicated)).of(self.ONLINE) == offered

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            (ComputeSettings("0-3", "3-4"), "must be disjoint"),
            (ComputeSettings("^1"), r"No CPUs available after parsing '\[compute\] cpu_shared_set' config, '\^1'"),
            (ComputeSettings("", "1,^1"), r"No CPUs available after parsing '\[compute\] cpu_dedicated_set'"),
            (ComputeSettings("3-1"), "Invalid range expression '3-1'"),
            (ComputeSettings("a"), "Invalid inclusion expression 'a'"),
            (ComputeSettings("1,^b"), r"Invalid exclusion expression '\^b'"),
            (ComputeSettings("0", reserved_host_cpus=1), "Unset 'reserved_host_cpus'"),
            (ComputeSettings(reserved_host_cpus=-1), "at least 0"),
        ],
    )
    def test_what_cannot_be(self, settings: ComputeSettings, said: str) -> None:
        with pytest.raises(ValueError, match=said):
            processor_sets(settings)
        with pytest.raises(AgentSetupError, match=said):
            list(drivers_of(AgentSettings(driver="simulated", compute=settings), "h"))

    def test_what_is_not_online(self) -> None:
        with pytest.raises(ValueError, match=r"cpu_dedicated_set' configuration: .* \[0, 1\], .* \[1, 2\]"):
            ProcessorSets(None, cpus(1, 2)).of(cpus(0, 1))

    def test_sets_as_text(self) -> None:
        assert cpu_set(" 0 - 3, ^2,,8 ") == cpus(0, 1, 3, 8)
        assert cpu_set("") == cpus()


class TestLibvirtsCells:
    def test_one_cell(self) -> None:
        pages = (Pages(4, 2097152), Pages(2048, 0), Pages(1048576, 0))
        assert numa_cells(ONE_CELL, Processors(cpus(0, 1, 2, 3))) == (
            NumaCell(0, 8192, cpus(0, 1, 2, 3), pages=pages, socket=0),
        )
        assert not has_threads(ONE_CELL)

    def test_two_cells_with_threads_and_huge_pages(self) -> None:
        offered = Processors(cpus(0, 8), cpus(1, 2, 3, 9, 10, 4, 12))
        pages = (Pages(4, 2097152), Pages(2048, 2048), Pages(1048576, 4))
        first = NumaCell(
            0, 16384, cpus(0, 8), cpus(1, 2, 3, 9, 10), (cpus(0, 8), cpus(1, 9), cpus(2, 10)), pages, socket=0
        )
        second = NumaCell(1, 16384, cpus(), cpus(4, 12), (cpus(4, 12),), pages, socket=1)
        assert numa_cells(TWO_CELLS, offered) == (first, second)
        assert has_threads(TWO_CELLS)

    def test_a_processor_that_is_offline(self) -> None:
        (cell,) = numa_cells(OFFLINE, Processors(cpus(0, 1, 3)))
        assert (cell.cpus, cell.siblings, cell.socket) == (cpus(0, 1, 3), (cpus(0, 1),), None)

    def test_no_numa(self) -> None:
        assert numa_cells(NO_NUMA, Processors(cpus(0, 1))) == ()
        assert not has_threads(NO_NUMA)


GPU = {node: PciPool("10de", "1db1", count, numa_node=node) for node, count in ((0, 1), (1, 2))}
CARD = PciPool("8086", "1528", 1, "type-PF", 0)
ONE_GPU = PciPool("10de", "1db1", 1, numa_node=1)
FUNCTION = PciPool("8086", "1515", 1, "type-VF", 0)
FUNCTIONS = PciPool("8086", "1515", 2, "type-VF", 0)
VDPA = PciPool("15b3", "101e", 1, "vdpa")


class TestDevices:
    @pytest.mark.parametrize(
        ("lines", "found"),
        [
            ([], ()),
            (["{}"], (GPU[0], GPU[1], VDPA, FUNCTIONS, CARD)),
            (['{"vendor_id": "10de"}'], (GPU[0], GPU[1])),
            (['{"vendor_id": "10de", "product_id": "1DB1", "address": "*:81:*.*"}'], (ONE_GPU,)),
            (['{"vendor_id": "10de", "product_id": "ffff"}'], ()),
            (['[{"vendor_id": "15b3"}, {"product_id": "1528"}]'], (VDPA, CARD)),
            (['{"address": "0000:05:10.2"}'], (FUNCTION,)),
            (['{"address": "5:00"}'], (CARD,)),
            (['{"address": "0000:05:00.0", "physical_network": "net1"}'], (FUNCTIONS, CARD)),
            (['{"devname": "enp5s0f0"}'], (FUNCTIONS, CARD)),
            (['{"devname": "nothing"}'], ()),
            (['{"address": {"bus": "0[56]", "slot": "1.", "function": "[0-1]"}}'], (FUNCTION,)),
            (['{"address": ".2"}'], (VDPA, FUNCTION)),
        ],
    )
    def test_which_may_be_passed_through(self, lines: list[str], found: tuple[PciPool, ...]) -> None:
        """A physical function's address stands for its virtual ones too, as in Nova."""
        assert pools(allowed(pci_devices(DEVICES), device_specs(lines))) == found

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("gpu", "Invalid entry: 'gpu'"),
            ('["gpu"]', "Invalid entry"),
            ('{"vendor": "10de"}', "unknown key vendor"),
            ('{"vendor_id": "NVIDIA"}', r"property vendor_id \('NVIDIA'\) does not parse as a hex number"),
            ('{"product_id": "10000"}', r"property product_id \(10000\) is greater than the maximum .* \(FFFF\)"),
            ('{"address": "0:0:0:0.0"}', "0:0:0:0.0 has an incorrect format"),
            ('{"address": "*:*:20.*"}', r"slot \(20\) is greater"),
            ('{"address": {"bus": "("}}', "incorrect format"),
            ('{"address": 5}', "incorrect format"),
            ('{"address": "0000:05:00.0", "devname": "eth0"}', "devname or address, but not both"),
        ],
    )
    def test_what_no_spec_is(self, line: str, said: str) -> None:
        with pytest.raises(ValueError, match=said):
            device_specs([line])
        with pytest.raises(AgentSetupError, match=said):
            list(drivers_of(AgentSettings(driver="simulated", pci=DeviceSettings((line,))), "h"))


class TestChosenDevices:
    """Of all that may be passed through: a graphics card each in two cells and another in the second, a network card in
    the first with two virtual functions."""

    FIRST, SECOND = (DeviceClaim("10de", "1db1", 1, numa_node=node) for node in (0, 1))
    WHOLE, PART = DeviceClaim("8086", "1528", 1, "type-PF", 0), DeviceClaim("8086", "1515", 1, "type-VF", 0)

    @pytest.mark.parametrize(
        ("claims", "taken", "addresses"),
        [
            ([], [], ()),
            ([FIRST], [], ("0000:02:00.0",)),
            ([FIRST, SECOND], [], ("0000:02:00.0", "0000:81:00.0")),
            ([SECOND], ["0000:81:00.0"], ("0000:82:00.0",)),
            ([evolve(SECOND, count=2), PART], [], ("0000:81:00.0", "0000:82:00.0", "0000:05:10.0")),
            ([PART], ["0000:05:10.0"], ("0000:05:10.2",)),
            ([WHOLE], ["0000:02:00.0"], ("0000:05:00.0",)),
        ],
    )
    def test_free_ones_of_the_pool(
        self, claims: list[DeviceClaim], taken: list[str], addresses: tuple[str, ...]
    ) -> None:
        assert chosen(pci_devices(DEVICES), device_specs(["{}"]), claims, taken) == addresses

    @pytest.mark.parametrize(
        ("claims", "taken", "said"),
        [
            ([FIRST], ["0000:02:00.0"], r"1 devices 10de:1db1 \(type-PCI\) in NUMA cell 0 wanted, 0 are free"),
            ([evolve(SECOND, count=3)], [], "3 devices .* 2 are free"),
            ([evolve(FIRST, numa_node=None)], [], r"1 devices 10de:1db1 \(type-PCI\) wanted, 0 are free"),
            ([WHOLE], ["0000:05:10.2"], "0 are free"),
            ([PART], ["0000:05:00.0"], "0 are free"),
        ],
    )
    def test_none_is_free(self, claims: list[DeviceClaim], taken: list[str], said: str) -> None:
        """A card and its functions are not both given away."""
        with pytest.raises(HostFull, match=said):
            chosen(pci_devices(DEVICES), device_specs(["{}"]), claims, taken)

    def test_none_that_is_not_allowed(self) -> None:
        only = device_specs(['{"address": "*:82:*.*"}'])
        assert chosen(pci_devices(DEVICES), only, [self.SECOND], []) == ("0000:82:00.0",)
        with pytest.raises(HostFull):
            chosen(pci_devices(DEVICES), only, [self.FIRST], [])


class TestSimulatedHosts:
    def test_a_shape(self) -> None:
        capacity = SimulatedCapacity(
            8,
            8192,
            numa_cells=2,
            threads=2,
            huge_pages={2048: 512},
            sets=ProcessorSets(cpus(0, 1), cpus(2, 3, 4, 5, 6)),
        )
        pages = (Pages(4, 786432), Pages(2048, 512))
        assert capacity.topology == (
            NumaCell(0, 4096, cpus(0, 1), cpus(2, 3), (cpus(0, 1), cpus(2, 3)), pages, socket=0),
            NumaCell(1, 4096, cpus(), cpus(4, 5, 6), (cpus(4, 5),), pages, socket=1),
        )

    @pytest.mark.parametrize(
        ("shape", "said"),
        [
            (
                {"vcpus": 6, "numa_cells": 2, "threads": 2},
                "6 processors are not whole cores of 2 threads in 2 NUMA cells",
            ),
            ({"numa_cells": 0}, "0 NUMA cells"),
            ({"memory_mb": 1024, "huge_pages": {1048576: 2}}, "2097152 KiB exceed the 1048576 KiB"),
            ({"huge_pages": {4: 1}}, "larger than 4 KiB"),
            ({"pci": (PciPool("10de", "1db1", 1, numa_node=1),)}, "beyond the host's 1"),
            ({"vcpus": 2, "sets": ProcessorSets(cpus(2))}, "not online"),
        ],
    )
    def test_what_no_host_is_like(self, shape: dict[str, Any], said: str) -> None:
        with pytest.raises(ValueError, match=said):
            SimulatedCapacity(**shape)

    def test_devices(self) -> None:
        lines = ['{"vendor_id": "10DE", "product_id": "1db1", "count": 2, "device_type": "type-VF", "numa_node": 0}']
        assert simulated_pools(lines) == (PciPool("10de", "1db1", 2, "type-VF", 0),)
        for line in (
            "gpu",
            "[]",
            '{"vendor_id": "x", "product_id": "1"}',
            '{"vendor_id": "1", "product_id": "1", "a": 1}',
        ):
            with pytest.raises(ValueError, match="is no device"):
                simulated_pools([line])

    async def test_settings_make_facts(self) -> None:
        settings = AgentSettings(
            driver="simulated",
            compute=ComputeSettings("0-1", "2-7"),
            simulated=SimulatedSettings(
                vcpus=8,
                numa_cells=2,
                threads=2,
                memory_mb=8192,
                huge_pages={"1048576": 1},
                devices=('{"vendor_id": "10de", "product_id": "1db1", "numa_node": 1}',),
            ),
        )
        ((_, driver),) = drivers_of(settings, "h")
        facts = await driver.facts()
        assert (facts.vcpus, facts.pcpus, facts.reserved_vcpus) == (2, 6, 0)
        assert [(len(c.cpus), len(c.dedicated), c.memory_mb) for c in facts.topology] == [(2, 2, 4096), (0, 4, 4096)]
        assert facts.topology[1].pages == (Pages(4, 786432), Pages(1048576, 1))
        assert facts.pci == (PciPool("10de", "1db1", 1, numa_node=1),)
        assert "HW_CPU_HYPERTHREADING" in facts.traits
        assert facts.cpu_info["topology"] == {"cells": 2, "sockets": 1, "cores": 2, "threads": 2}
