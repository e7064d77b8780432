"""Candidates as JSON, in the shape of each microversion."""

from typing import Any

import orjson
import pytest
from unit_placement import Rp, forest_of, plant

from control.placement.candidates.answer import candidates_for
from control.placement.candidates.render import body_of, shape_of
from control.placement.forest import SHARING, Forest
from control.placement.query import CandidateQuery, Group
from schemas.placement import Inventory

ALONE = [Rp("a", {"VCPU": 8, "DISK_GB": 10}, ["T2", "T1"], used={"VCPU": 3}), Rp("b", {"VCPU": 4})]
TREE = [Rp("a", {"VCPU": Inventory(8, reserved=1, allocation_ratio=2.5)}, ["T1"]), Rp("b", {"DISK_GB": 9}, parent="a")]
SHARED = [Rp("a", {"VCPU": 8}, aggregates=["g"]), Rp("s", {"DISK_GB": 9}, [SHARING], ["g"], used={"DISK_GB": 2})]
VCPU = CandidateQuery((Group("", {"VCPU": 2}),))
BOTH = CandidateQuery((Group("", {"VCPU": 2, "DISK_GB": 5}), Group("_D", {"DISK_GB": 1})))


def answered(forest: Forest, query: CandidateQuery, version: int = 39) -> Any:
    return orjson.loads(body_of(forest, query, candidates_for(forest, query), shape_of(version)))


def test_providers_alone() -> None:
    assert answered(forest_of(ALONE), VCPU) == {
        "allocation_requests": [
            {"allocations": {"a": {"resources": {"VCPU": 2}}}, "mappings": {"": ["a"]}},
            {"allocations": {"b": {"resources": {"VCPU": 2}}}, "mappings": {"": ["b"]}},
        ],
        "provider_summaries": {
            "a": {
                "resources": {"VCPU": {"capacity": 8, "used": 3}, "DISK_GB": {"capacity": 10, "used": 0}},
                "traits": ["T1", "T2"],
                "parent_provider_uuid": None,
                "root_provider_uuid": "a",
            },
            "b": {
                "resources": {"VCPU": {"capacity": 4, "used": 0}},
                "traits": [],
                "parent_provider_uuid": None,
                "root_provider_uuid": "b",
            },
        },
    }


def test_a_tree_and_what_is_shared() -> None:
    (request,) = answered(forest_of(TREE), BOTH)["allocation_requests"]
    assert request == {
        "allocations": {"a": {"resources": {"VCPU": 2}}, "b": {"resources": {"DISK_GB": 6}}},
        "mappings": {"": ["a", "b"], "_D": ["b"]},
    }
    answer = answered(forest_of(SHARED), BOTH)
    assert set(answer["provider_summaries"]) == {"a", "s"}
    assert answer["provider_summaries"]["s"]["resources"] == {"DISK_GB": {"capacity": 9, "used": 2}}


def test_nothing() -> None:
    query = CandidateQuery((Group("", {"CUSTOM_X": 1}),))
    for providers in ([], ALONE, TREE):
        assert answered(forest_of(providers), query) == {"allocation_requests": [], "provider_summaries": {}}


@pytest.mark.parametrize("providers", [ALONE, TREE, SHARED])
@pytest.mark.parametrize("query", [VCPU, BOTH])
def test_pieces_and_dictionaries_say_the_same(providers: list[Rp], query: CandidateQuery) -> None:
    forest = forest_of(providers)
    latest, earlier = answered(forest, query, 39), answered(forest, query, 33)
    for request in latest["allocation_requests"]:
        del request["mappings"]
    assert latest == earlier


def test_earlier_versions_show_less() -> None:
    forest = forest_of(ALONE)

    def summary(version: int) -> Any:
        return answered(forest, VCPU, version)["provider_summaries"]["a"]

    vcpu = {"VCPU": {"capacity": 8, "used": 3}}
    assert summary(10) == summary(16) == {"resources": vcpu}
    assert summary(17) == summary(26) == {"resources": vcpu, "traits": ["T1", "T2"]}
    assert (
        summary(27)
        == summary(28)
        == {
            "resources": {**vcpu, "DISK_GB": {"capacity": 10, "used": 0}},
            "traits": ["T1", "T2"],
        }
    )
    assert answered(forest, VCPU, 11)["allocation_requests"][0] == {
        "allocations": [{"resource_provider": {"uuid": "a"}, "resources": {"VCPU": 2}}]
    }
    assert answered(forest, VCPU, 33)["allocation_requests"][0] == {"allocations": {"a": {"resources": {"VCPU": 2}}}}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (Rp("a", {"VCPU": 6}), {"capacity": 6, "used": 0}),
        (Rp("a", {"VCPU": 8}, used={"VCPU": 5}), {"capacity": 8, "used": 5}),
        (
            Rp("a", {"VCPU": Inventory(2**31 - 1, allocation_ratio=3.4e38)}),
            {"capacity": int((2**31 - 1) * 3.4e38), "used": 0},
        ),
    ],
)
def test_a_change_is_told_next_time(changed: Rp, told: dict[str, int]) -> None:
    forest = forest_of([Rp("a", {"VCPU": 8})])
    assert answered(forest, VCPU)["provider_summaries"]["a"]["resources"]["VCPU"] == {"capacity": 8, "used": 0}
    plant(forest, changed, 2)
    found = orjson.loads(
        body_of(forest, VCPU, candidates_for(forest, VCPU)).replace(str(told["capacity"]).encode(), b"1")
    )
    assert found["provider_summaries"]["a"]["resources"]["VCPU"] == {**told, "capacity": 1}


def test_a_new_root_is_told_of_all_below_it() -> None:
    forest = forest_of([Rp("a", {"VCPU": 8}), Rp("b", {"VCPU": 8}, parent="a"), Rp("c")])
    assert answered(forest, VCPU)["provider_summaries"]["b"]["root_provider_uuid"] == "a"
    plant(forest, Rp("a", {"VCPU": 8}, parent="c"), 2)
    summaries = answered(forest, VCPU)["provider_summaries"]
    assert {uuid: told["root_provider_uuid"] for uuid, told in summaries.items()} == {"a": "c", "b": "c", "c": "c"}
    assert summaries["a"]["parent_provider_uuid"] == "c"
