"""The model of all providers: what it holds is what it was told last, in whatever order it was told."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_placement import Rp, allocate, forest_of, plant
from unit_records import stored

from control.placement.consumers import Sum
from control.placement.forest import Forest
from control.placement.query import UsageQuery
from kv.keys import Global
from schemas.placement import Inventory, Usages

TREE = [
    Rp("root"),
    Rp("left", parent="root"),
    Rp("right", parent="root"),
    Rp("leaf", parent="left"),
    Rp("other"),
]


def roots(forest: Forest) -> dict[str, str]:
    for uuid, node in forest.nodes.items():
        assert forest.at(int(forest.root[node.row])) is node.root, uuid
    return {uuid: node.root.uuid for uuid, node in forest.nodes.items()}


def usages(uuid: str, used: dict[str, int], revision: int) -> Any:
    return stored(Global.USAGES(uuid), Usages(used), revision)


@given(st.permutations(TREE))
def test_a_tree_stands_in_whatever_order_its_providers_come(order: list[Rp]) -> None:
    forest = forest_of(order)
    assert roots(forest) == {"root": "root", "left": "root", "right": "root", "leaf": "root", "other": "other"}
    assert {n.uuid for n in forest.nodes["root"].tree()} == {"root", "left", "right", "leaf"}
    assert len(forest) == 5
    assert forest.children.bit_count() == 3


def test_a_subtree_moves_with_all_below_it() -> None:
    forest = forest_of(TREE)
    plant(forest, Rp("left", parent="other"), 2)
    assert roots(forest) == {"root": "root", "left": "other", "right": "root", "leaf": "other", "other": "other"}
    plant(forest, Rp("left"), 3)
    assert roots(forest)["leaf"] == "left"


def test_two_that_change_places_in_one_transaction() -> None:
    """In between each lies below the other."""
    forest = forest_of([Rp("a"), Rp("b", parent="a")])
    plant(forest, Rp("a", parent="b"), 2)
    plant(forest, Rp("b"), 2)
    assert roots(forest) == {"a": "b", "b": "b"}


def test_the_record_of_a_provider_is_given_back_whole() -> None:
    rp = Rp("a", {"VCPU": Inventory(8, reserved=1)}, traits=["T2", "T1"], aggregates=["g"])
    forest = forest_of([rp])
    found = forest.provider("a")
    assert found is not None
    assert found.value == rp.provider
    assert forest.named("a") is forest.get("a")
    assert forest.provider("b") is None


def test_an_older_record_is_ignored_and_a_deletion_is_not_undone_by_what_was_before_it() -> None:
    forest = forest_of([Rp("a", {"VCPU": 8})])
    forest.set_usages("a", usages("a", {"VCPU": 2}, 5))
    forest.set_usages("a", usages("a", {"VCPU": 1}, 4))
    assert forest.nodes["a"].used == {"VCPU": 2}
    forest.set_usages("a", None, 4)
    assert forest.nodes["a"].used == {"VCPU": 2}
    forest.set_usages("a", None, 6)
    forest.set_usages("a", usages("a", {"VCPU": 3}, 5))
    assert forest.usages("a") is None
    forest.forget_deletions(6)
    forest.set_usages("a", usages("a", {"VCPU": 3}, 7))
    assert forest.nodes["a"].used == {"VCPU": 3}
    forest.set_usages("a", None)
    assert forest.usages("a") is None


def test_a_deleted_provider_leaves_nothing_behind_in_its_row() -> None:
    forest = forest_of([Rp("a", {"VCPU": 8}, ["T"], ["g"], used={"VCPU": 3})])
    forest.set_provider("a", None, 2)
    assert forest.get("a") is None
    assert forest.named("a") is None
    forest.set_usages("a", None, 2)
    assert (len(forest), forest.nodes) == (0, {})
    plant(forest, Rp("b", {"DISK_GB": 5}), 3)
    assert forest.nodes["b"].row == 0
    assert not forest.columns.fits({"VCPU": 1}).any()
    assert forest.columns.fits({"DISK_GB": 5}).tolist()[0]
    assert (forest.with_trait["T"], forest.in_aggregate["g"]) == (0, 0)


def test_usages_may_come_before_their_provider() -> None:
    forest = Forest()
    forest.set_usages("a", usages("a", {"VCPU": 3}, 1))
    assert forest.get("a") is None
    assert not forest.columns.fits({"VCPU": 1}).any()
    plant(forest, Rp("a", {"VCPU": 4}, used={"VCPU": 3}))
    assert forest.columns.fits({"VCPU": 1})[0]
    assert not forest.columns.fits({"VCPU": 2})[0]


@pytest.mark.parametrize(
    ("inventory", "used", "amount", "fits"),
    [
        (Inventory(10), 9, 1, True),
        (Inventory(10), 10, 1, False),
        (Inventory(10), 12, 1, False),
        (Inventory(10, reserved=1), 9, 1, False),
        (Inventory(10, reserved=10), 0, 1, False),
        (Inventory(10, allocation_ratio=1.5), 14, 1, True),
        (Inventory(10, max_unit=4), 0, 5, False),
        (Inventory(10, min_unit=4), 0, 3, False),
        (Inventory(10, step_size=4), 0, 8, True),
        (Inventory(10, step_size=4), 0, 6, False),
        (Inventory(2**31 - 1, allocation_ratio=1e30), 5, 7, True),
    ],
)
def test_what_fits_into_an_inventory(inventory: Inventory, used: int, amount: int, fits: bool) -> None:
    forest = forest_of([Rp("a", {"VCPU": inventory}, used={"VCPU": used})])
    assert bool(forest.columns.fits({"VCPU": amount})[0]) == fits


def test_rules_of_units_go_with_their_inventory() -> None:
    forest = forest_of([Rp("a", {"VCPU": Inventory(10, step_size=4)}), Rp("b", {"VCPU": 10})])
    assert forest.columns.fits({"VCPU": 3}).tolist()[:2] == [False, True]
    plant(forest, Rp("a", {"VCPU": 10}), 2)
    assert forest.columns.fits({"VCPU": 3}).tolist()[:2] == [True, True]
    plant(forest, Rp("a", {}), 3)
    assert forest.columns.fits({"VCPU": 3}).tolist()[:2] == [False, True]


def test_many_providers_outgrow_the_columns() -> None:
    forest = forest_of(Rp(f"n{i}", {"VCPU": i}, ["T"] if i % 2 else []) for i in range(1, 200))
    fits = forest.columns.fits({"VCPU": 100})
    assert {forest.at(int(row)).uuid for row in fits.nonzero()[0]} == {f"n{i}" for i in range(100, 200)}
    assert forest.mask(forest.with_trait["T"]).sum() == 100
    assert set(roots(forest)) == set(roots(forest).values())


def test_what_consumers_hold_is_summed_by_project_user_and_type() -> None:
    forest = Forest()
    allocate(forest, "c1", {"a": {"VCPU": 1}, "b": {"VCPU": 2, "DISK_GB": 5}}, type="INSTANCE")
    allocate(forest, "c2", {"a": {"VCPU": 4}}, type="MIGRATION", user="u2")
    allocate(forest, "c3", {"a": {"VCPU": 8}}, type=None)
    allocate(forest, "c4", {"a": {"VCPU": 16}}, project="p2")
    sums = forest.consumers.sums
    assert sums(UsageQuery("p")) == {
        "INSTANCE": Sum(1, {"VCPU": 3, "DISK_GB": 5}),
        "MIGRATION": Sum(1, {"VCPU": 4}),
        None: Sum(1, {"VCPU": 8}),
    }
    assert sums(UsageQuery("p", user="u2")) == {"MIGRATION": Sum(1, {"VCPU": 4})}
    assert sums(UsageQuery("p", type="INSTANCE")) == {"INSTANCE": Sum(1, {"VCPU": 3, "DISK_GB": 5})}
    assert sums(UsageQuery("p", type="unknown")) == {None: Sum(1, {"VCPU": 8})}
    assert sums(UsageQuery("nobody")) == {}
    assert {s.value.consumer for s in forest.consumers.on("a")} == {"c1", "c2", "c3", "c4"}
    allocate(forest, "c1", {"b": {"VCPU": 1}}, 2)
    forest.set_allocation("c4", None, 2)
    assert sums(UsageQuery("p"))["INSTANCE"] == Sum(1, {"VCPU": 1})
    assert sums(UsageQuery("p2")) == {}
    assert {s.value.consumer for s in forest.consumers.on("a")} == {"c2", "c3"}
