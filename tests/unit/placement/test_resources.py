"""What servers need, what hosts offer, and that no claim exceeds it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_records import facts, flavor

from control.placement.demands import demands_of
from control.placement.resources import lacking, needed_by, offered_by, with_claim
from schemas.placement import Inventory, Usages
from schemas.settings import SchedulerSettings

CLASSES = ("VCPU", "MEMORY_MB", "DISK_GB", "CUSTOM_X")
amounts = st.dictionaries(st.sampled_from(CLASSES), st.integers(1, 50), min_size=1)
inventories = st.dictionaries(
    st.sampled_from(CLASSES),
    st.builds(
        Inventory,
        total=st.integers(0, 100),
        reserved=st.integers(0, 20),
        min_unit=st.integers(1, 3),
        max_unit=st.integers(1, 60),
        step_size=st.integers(1, 4),
        allocation_ratio=st.sampled_from([0.5, 1.0, 1.5, 4.0, 16.0]),
    ),
)


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({}, {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1}),
        ({"root_gb": 10, "ephemeral_gb": 5, "swap_mb": 1}, {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 16}),
        ({"root_gb": 0}, {"VCPU": 1, "MEMORY_MB": 512}),
        ({"extra_specs": {"resources:VCPU": "3"}}, {"VCPU": 3, "MEMORY_MB": 512, "DISK_GB": 1}),
        (
            {"extra_specs": {"resources:VCPU": "0", "resources:CUSTOM_X": "2"}},
            {"MEMORY_MB": 512, "DISK_GB": 1, "CUSTOM_X": 2},
        ),
        (
            {"extra_specs": {"resources:VCPU": "many", "hw:cpu_policy": "shared"}},
            {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1},
        ),
    ],
)
def test_what_a_flavor_needs(changes: dict[str, object], needed: dict[str, int]) -> None:
    assert needed_by(flavor(**changes)) == needed


REST = {"MEMORY_MB": 512, "DISK_GB": 1}


@pytest.mark.parametrize(
    ("specs", "image", "needed"),
    [
        ({"hw:cpu_policy": "dedicated"}, {}, {"PCPU": 4}),
        ({}, {"hw_cpu_policy": "dedicated"}, {"PCPU": 4}),
        ({"hw:cpu_policy": "dedicated", "hw:emulator_threads_policy": "isolate"}, {}, {"PCPU": 5}),
        ({"hw:cpu_policy": "mixed", "hw:cpu_dedicated_mask": "^0"}, {}, {"PCPU": 3, "VCPU": 1}),
        (
            {"hw:cpu_policy": "mixed", "hw:cpu_dedicated_mask": "0-1", "hw:emulator_threads_policy": "isolate"},
            {},
            {"PCPU": 3, "VCPU": 2},
        ),
        (
            {"hw:cpu_policy": "mixed", "hw:cpu_realtime": "true", "hw:cpu_realtime_mask": "0"},
            {},
            {"PCPU": 1, "VCPU": 3},
        ),
        ({"hw:cpu_policy": "shared"}, {}, {"VCPU": 4}),
        ({"hw:cpu_policy": "mixed"}, {}, {"VCPU": 4}),
        ({"resources:PCPU": "4"}, {}, {"PCPU": 4}),
        ({"resources:PCPU": "0"}, {}, {}),
        ({"resources1:VCPU": "1", "resources2:VCPU": "1"}, {}, {"VCPU": 2}),
        ({"resources1:MEMORY_MB": "64"}, {}, {"VCPU": 4, "MEMORY_MB": 64}),
        ({"resources1:CUSTOM_X": "0"}, {}, {"VCPU": 4}),
        ({"resources:VGPU": "1", "hw:cpu_policy": "dedicated"}, {}, {"PCPU": 4, "VGPU": 1}),
    ],
)
def test_pinned_processors_are_pcpu(specs: dict[str, str], image: dict[str, str], needed: dict[str, int]) -> None:
    """A class that a group of `resourcesN:` asks for is not asked for beside it, as in Nova."""
    assert needed_by(flavor(vcpus=4, extra_specs=specs), image) == REST | needed


@pytest.mark.parametrize(
    ("specs", "image", "required", "forbidden"),
    [
        ({"hw:cpu_thread_policy": "require"}, {}, True, False),
        ({"hw:cpu_thread_policy": "isolate"}, {}, False, True),
        ({"hw:cpu_thread_policy": "prefer"}, {}, False, False),
        ({"hw:cpu_thread_policy": "prefer"}, {"hw_cpu_thread_policy": "isolate"}, False, True),
        ({}, {"hw_cpu_thread_policy": "require"}, True, False),
        ({"hw:cpu_thread_policy": "never"}, {}, False, False),
    ],
)
def test_a_thread_policy_is_a_trait(
    specs: dict[str, str], image: dict[str, str], required: bool, forbidden: bool
) -> None:
    demands = demands_of(specs, image)
    assert ("HW_CPU_HYPERTHREADING" in demands.required, "HW_CPU_HYPERTHREADING" in demands.forbidden) == (
        required,
        forbidden,
    )


def test_what_a_host_offers() -> None:
    settings = SchedulerSettings(
        cpu_allocation_ratio=2.0, ram_allocation_ratio=1.5, reserved_host_memory_mb=384, reserved_host_disk_mb=1025
    )
    offered = offered_by(facts(), settings)
    assert {name: inventory.capacity for name, inventory in offered.items()} == {
        "VCPU": 16,
        "MEMORY_MB": 24000,
        "DISK_GB": 98,
    }
    assert {name: inventory.max_unit for name, inventory in offered.items()} == {
        "VCPU": 8,
        "MEMORY_MB": 16384,
        "DISK_GB": 100,
    }


def test_a_reserve_larger_than_the_host_leaves_nothing() -> None:
    offered = offered_by(facts(memory_mb=100, local_gb=0), SchedulerSettings(reserved_host_disk_mb=9999))
    assert (offered["MEMORY_MB"].capacity, offered["DISK_GB"].capacity) == (0, 0)


@pytest.mark.parametrize(
    ("host", "offered"),
    [
        ({}, {"VCPU": Inventory(8, max_unit=8, allocation_ratio=4.0)}),
        ({"reserved_vcpus": 2}, {"VCPU": Inventory(8, reserved=2, max_unit=8, allocation_ratio=4.0)}),
        ({"reserved_vcpus": 9}, {"VCPU": Inventory(8, reserved=8, max_unit=8, allocation_ratio=4.0)}),
        (
            {"vcpus": 2, "pcpus": 6},
            {"VCPU": Inventory(2, max_unit=2, allocation_ratio=4.0), "PCPU": Inventory(6, max_unit=6)},
        ),
        ({"vcpus": 0, "pcpus": 8}, {"PCPU": Inventory(8, max_unit=8)}),
    ],
)
def test_the_processors_that_a_host_offers(host: dict[str, int], offered: dict[str, Inventory]) -> None:
    found = offered_by(facts(**host), SchedulerSettings())
    assert {name: found[name] for name in found if name.endswith("CPU")} == offered


@pytest.mark.parametrize(
    ("inventory", "used", "asked", "fits"),
    [
        (Inventory(10), 9, 1, True),
        (Inventory(10), 10, 1, False),
        (Inventory(10, reserved=1), 9, 1, False),
        (Inventory(10, allocation_ratio=1.5), 14, 1, True),
        (Inventory(10, max_unit=4), 0, 5, False),
        (Inventory(10, min_unit=4), 0, 3, False),
        (Inventory(10, step_size=4), 0, 8, True),
        (Inventory(10, step_size=4), 0, 6, False),
        (Inventory(3, allocation_ratio=1.5), 0, 4, True),
        (Inventory(3, allocation_ratio=1.5), 0, 5, False),
    ],
)
def test_what_fits_into_an_inventory(inventory: Inventory, used: int, asked: int, fits: bool) -> None:
    assert (lacking({"VCPU": inventory}, {"VCPU": used}, {"VCPU": asked}) is None) == fits


def test_a_class_that_nobody_offers_is_lacking() -> None:
    assert lacking({}, {}, {"CUSTOM_X": 1}) == "CUSTOM_X"
    assert lacking({}, {}, {}) is None


@given(inventories, st.lists(amounts, max_size=30))
def test_claims_that_fit_one_after_another_never_exceed_capacity(
    offered: dict[str, Inventory], wanted: list[dict[str, int]]
) -> None:
    usages, taken = Usages(), []
    for asked in wanted:
        if lacking(offered, usages.used, asked) is None:
            usages = with_claim(usages, asked)
            taken.append(asked)
    for name, used in usages.used.items():
        assert 0 < used <= offered[name].capacity
    generation = usages.generation
    for asked in taken:
        usages = with_claim(usages, asked, -1)
    assert usages.used == {}
    assert usages.generation == 2 * generation, "every change raises it"
