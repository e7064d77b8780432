"""What servers are given of a host's topology: never the same twice, and all of it back at the end."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from unit_placement import Rp
from unit_records import facts

from control.placement.topology import (
    Wishes,
    fitted,
    free_cells,
    free_pools,
    wishes_of,
    with_topology,
    without_topology,
)
from schemas.placement import Usages
from schemas.topology import CellClaim, DeviceClaim, NumaCell, Pages, PciPool, TopologyClaim

ALIAS = ('{"name": "gpu", "vendor_id": "10de", "product_id": "1db4", "numa_policy": "required"}',)
PROVIDER = Rp("a", {"VCPU": 16, "MEMORY_MB": 16384}).provider


def cell(ident: int, cores: int = 4) -> NumaCell:
    """Two threads a core, all dedicated, beside two shared processors."""
    first = ident * 100
    siblings = tuple(frozenset({first + 2 * n, first + 2 * n + 1}) for n in range(cores))
    shared = frozenset({first + 90, first + 91})
    pages = (Pages(4, 1 << 20), Pages(2048, 1024))
    return NumaCell(ident, 8192, shared, frozenset().union(*siblings), siblings, pages)


HOST = facts(
    topology=(cell(0), cell(1)),
    pci=(PciPool("10de", "1db4", 2, numa_node=0), PciPool("10de", "1db4", 1, numa_node=1)),
)


def wishes(vcpus: int = 2, memory: int = 1024, **specs: str) -> Wishes:
    named = {name.replace("__", ":", 1): value for name, value in specs.items()}
    return wishes_of(vcpus, memory, named, {}, ALIAS)


def given_one_after_another(asked: list[Wishes]) -> Usages:
    usages = Usages()
    for n, one in enumerate(asked):
        claim = fitted(one, HOST, PROVIDER, usages)
        if claim is not None:
            usages = with_topology(usages, f"s{n}", claim)
    return usages


def test_who_asks_for_nothing_leaves_no_trace() -> None:
    assert not wishes()
    assert with_topology(Usages(), "s", TopologyClaim()) == Usages()


def test_pins_pages_and_a_device_near_them() -> None:
    asked = wishes(hw__cpu_policy="dedicated", hw__mem_page_size="2MB", pci_passthrough__alias="gpu:1")
    claim = fitted(asked, HOST, PROVIDER, Usages())
    assert claim == TopologyClaim(
        (CellClaim(0, 0, 1024, pins=((0, 0), (1, 1)), taken=frozenset({0, 1}), page_kib=2048),),
        (DeviceClaim("10de", "1db4", 1, numa_node=0),),
    )


def test_an_isolated_guest_keeps_the_other_threads_of_its_cores_empty() -> None:
    asked = wishes(hw__cpu_policy="dedicated", hw__cpu_thread_policy="isolate", hw__emulator_threads_policy="isolate")
    claim = fitted(asked, HOST, PROVIDER, Usages())
    assert claim
    assert claim.cells[0].pins == ((0, 0), (1, 2))
    assert claim.cells[0].taken == frozenset(range(6)), "two for its own, one for the emulator, and their siblings"
    assert claim.cells[0].emulator == frozenset({4})


def test_what_cannot_be_is_said() -> None:
    wrong = wishes(pci_passthrough__alias="fpga:1")
    assert wrong.wrong == "PCI alias fpga is not defined"
    assert fitted(wrong, HOST, PROVIDER, Usages()) is None


def test_a_host_that_tells_of_no_cells_takes_guests_with_cells() -> None:
    """As Nova's computes do; NUMATopologyFilter is there to prevent it."""
    assert fitted(wishes(hw__numa_nodes="2"), facts(), PROVIDER, Usages()) == TopologyClaim()


wanted = st.lists(
    st.sampled_from(
        [
            wishes(hw__cpu_policy="dedicated"),
            wishes(4, 2048, hw__cpu_policy="dedicated", hw__cpu_thread_policy="require"),
            wishes(2, 512, hw__cpu_policy="dedicated", hw__cpu_thread_policy="isolate"),
            wishes(4, 4096, hw__numa_nodes="2", hw__mem_page_size="large"),
            wishes(2, 4096, hw__numa_nodes="1"),
            wishes(pci_passthrough__alias="gpu:1"),
            wishes(2, 1024, hw__cpu_policy="dedicated", pci_passthrough__alias="gpu:1"),
        ]
    ),
    max_size=16,
)


@given(wanted, st.randoms(use_true_random=False))
def test_nothing_is_given_twice_and_all_comes_back(asked: list[Wishes], draw: Random) -> None:
    usages = given_one_after_another(asked)
    taken: Counter[int] = Counter()
    for claim in usages.topology.values():
        for one in claim.cells:
            taken.update(one.taken)
            assert {on for _, on in one.pins} <= one.taken
    assert set(taken.values()) <= {1}, "no two guests on one processor"
    for left in free_cells(HOST.topology, usages.topology.values()):
        assert left.memory_used_mb <= left.memory_mb
        assert left.cpus_used <= 2
        assert all(p.free >= 0 for p in left.pages)
    devices: Counter[int | None] = Counter()
    for claim in usages.topology.values():
        for device in claim.devices:
            devices[device.numa_node] += device.count
    assert {p.numa_node: p.free for p in free_pools(HOST.pci, usages.topology.values())} == {
        0: 2 - devices[0],
        1: 1 - devices[1],
    }
    servers = list(usages.topology)
    draw.shuffle(servers)
    for server in servers:
        usages = without_topology(usages, [server])
    assert usages == Usages()
