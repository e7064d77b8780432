"""Allocation candidates, searched and vectorised, against a model that tries everything."""

from itertools import product
from random import Random
from typing import Any

import numpy as np
import pytest
from attrs import evolve
from brute_candidates import Brute, Mappings, Pieces
from hypothesis import given, settings
from hypothesis import strategies as st
from unit_placement import Rp, forest_of

from control.placement.candidates.alone import alone, lone_trees
from control.placement.candidates.answer import candidates_for
from control.placement.candidates.found import Alone, Candidates, Generation, Request
from control.placement.candidates.options import Shares
from control.placement.candidates.search import search
from control.placement.fitting import providers_matching
from control.placement.forest import SHARING, Forest
from control.placement.query import CandidateQuery, Group, ProviderQuery, Wanted
from schemas.placement import Inventory

CLASSES = ("VCPU", "MEMORY_MB", "CUSTOM_X")
TRAITS = ("T1", "T2", "T3")
AGGREGATES = ("g1", "g2", "g3")


def mostly(usual: Any, other: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Rules that all are in force at once leave nothing to find."""
    return st.integers(0, 5).flatmap(lambda n: other if n == 5 else st.just(usual))


def wanted_of(names: tuple[str, ...]) -> st.SearchStrategy[Wanted]:
    some = st.frozensets(st.sampled_from(names), min_size=1, max_size=2)
    few = st.lists(some, max_size=2).map(tuple)
    return mostly(Wanted(), st.builds(Wanted, any_of=few, forbidden=st.frozensets(st.sampled_from(names), max_size=1)))


inventories = mostly(
    6,
    st.builds(
        Inventory,
        total=st.integers(1, 8),
        reserved=st.integers(0, 2),
        min_unit=st.integers(1, 2),
        max_unit=st.integers(1, 5),
        step_size=st.integers(1, 2),
        allocation_ratio=st.sampled_from([0.7, 1.0, 1.5]),
    ),
)
offers = st.dictionaries(st.sampled_from(CLASSES), inventories, min_size=1, max_size=3)


@st.composite
def forests(draw: st.DrawFn) -> list[Rp]:
    rps: list[Rp] = []
    nested, shared = draw(st.booleans()), draw(st.booleans())
    for i in range(draw(st.integers(1, 6))):
        offered = draw(offers)
        traits = draw(st.frozensets(st.sampled_from(TRAITS), max_size=3))
        if shared and draw(st.integers(0, 2)) == 2:
            traits |= {SHARING}
        parent = draw(st.sampled_from([None, *(rp.name for rp in rps)])) if nested else None
        aggregates = draw(st.frozensets(st.sampled_from(AGGREGATES), max_size=2))
        used = {name: draw(mostly(0, st.integers(1, 4))) for name in offered}
        rps.append(Rp(f"n{i}", offered, traits, aggregates, parent, used))
    return rps


@st.composite
def group_of(draw: st.DrawFn, suffix: str) -> Group:
    resources = draw(st.dictionaries(st.sampled_from(CLASSES), st.integers(1, 3), min_size=1, max_size=2))
    in_tree = draw(mostly(None, st.sampled_from(["n0", "n1", "nowhere"])))
    return Group(suffix, resources, draw(wanted_of(TRAITS)), draw(wanted_of(AGGREGATES)), in_tree)


@st.composite
def queries(draw: st.DrawFn) -> CandidateQuery:
    suffixes = draw(st.lists(st.sampled_from(["", "_A", "_B", "_C"]), unique=True, min_size=1, max_size=3))
    groups = [draw(group_of(suffix)) for suffix in sorted(suffixes)]
    grown = [group.suffix for group in groups if group.suffix]
    subtrees: list[frozenset[str]] = []
    if grown and draw(st.booleans()):
        subtrees.append(frozenset(draw(st.lists(st.sampled_from(grown), min_size=1))))
        if draw(st.booleans()):
            trait = draw(st.sampled_from(TRAITS))
            groups.append(Group("_R", {}, Wanted((frozenset({trait}),)), draw(wanted_of(AGGREGATES))))
            subtrees.append(frozenset({"_R", grown[0]}))
    return CandidateQuery(
        tuple(groups),
        draw(st.sampled_from(["none", "none", "isolate"])),
        root=draw(wanted_of(TRAITS)),
        same_subtrees=tuple(subtrees),
        nested=draw(st.booleans()),
    )


def spelt(forest: Forest, requests: Any) -> list[tuple[Pieces, Mappings]]:
    """With uuids for rows."""

    def one(request: Request) -> tuple[Pieces, Mappings]:
        pieces = frozenset((forest.at(row).uuid, name, n) for row, name, n in request.pieces)
        mappings = frozenset((suffix, frozenset(forest.at(r).uuid for r in rows)) for suffix, rows in request.mappings)
        return pieces, mappings

    return [one(request) for request in requests]


def told(forest: Forest, found: Candidates) -> set[str]:
    assert len(set(found.told)) == len(found.told)
    return {forest.at(row).uuid for row in found.told}


@settings(max_examples=200)
@given(forests(), queries())
def test_all_that_can_be_allocated_is_found_once(rps: list[Rp], query: CandidateQuery) -> None:
    forest, brute = forest_of(rps), Brute(rps)
    found = candidates_for(forest, query)
    requests = spelt(forest, found.requests)
    expected = brute.candidates(query)
    assert len(requests) == len(set(requests)), "none twice"
    assert set(requests) == expected
    used = {uuid for pieces, _ in expected for uuid, _, _ in pieces}
    trees = {uuid for u in used for uuid in brute.tree(brute.root(u))}
    assert told(forest, found) == (trees if query.nested else used)


@settings(max_examples=100)
@given(
    forests(),
    queries(),
    st.integers(1, 4),
    st.integers(1, 6),
    st.sampled_from(["depth-first", "breadth-first"]),
    st.booleans(),
)
def test_limits_take_some_of_the_same(
    rps: list[Rp], query: CandidateQuery, limit: int, most: int, strategy: Any, shuffled: bool
) -> None:
    forest, brute = forest_of(rps), Brute(rps)
    expected = brute.candidates(query)
    options = Generation(most, strategy, Random(1) if shuffled else None)
    found = candidates_for(forest, evolve(query, limit=limit), options)
    requests = spelt(forest, found.requests)
    assert len(requests) == len(set(requests))
    assert set(requests) <= expected
    if query.nested:
        assert len(requests) == min(limit, most, len(expected))
    used = {uuid for pieces, _ in requests for uuid, _, _ in pieces}
    trees = {uuid for u in used for uuid in brute.tree(brute.root(u))}
    assert told(forest, found) == (trees if query.nested else used)


@settings(max_examples=200)
@given(forests(), group_of(""), st.sampled_from(["", "_A"]), wanted_of(TRAITS))
def test_the_vectorised_way_finds_what_the_search_finds(rps: list[Rp], group: Group, suffix: str, root: Wanted) -> None:
    forest = forest_of(rps)
    query = CandidateQuery((evolve(group, suffix=suffix),), root=root)
    everywhere = np.ones(forest.columns.size, dtype=np.bool_)
    lone = lone_trees(forest, query, Shares(forest))
    quick = Alone(suffix, group.resources, alone(forest, query, lone)).requests()
    slow = search(forest, query, Shares(forest), everywhere if lone is None else lone, "depth-first")
    assert sorted(map(repr, quick)) == sorted(map(repr, slow))


@given(forests(), st.data())
def test_filters_of_providers(rps: list[Rp], data: st.DataObject) -> None:
    names = st.sampled_from([None, None, "n0", "n1", "nowhere"])
    query = data.draw(
        st.builds(
            ProviderQuery,
            name=names,
            uuid=names,
            in_tree=names,
            resources=st.dictionaries(st.sampled_from(CLASSES), st.integers(1, 3), max_size=2),
            traits=wanted_of(TRAITS),
            aggregates=wanted_of(AGGREGATES),
        )
    )
    forest, brute = forest_of(rps), Brute(rps)
    found = [node.uuid for node in providers_matching(forest, query)]
    assert len(found) == len(set(found))
    assert set(found) == brute.providers(query)
    alone = evolve(query, name=None, uuid=None, in_tree=None)
    assert {node.uuid for node in providers_matching(forest, alone)} == brute.providers(alone)


def test_generation_goes_through_trees_one_after_another_or_in_turn() -> None:
    rps = [
        Rp(f"{root}{child}", {"VCPU": 1}, parent=None if not child else root)
        for root, child in product("ab", ["", "1", "2"])
    ]
    query = CandidateQuery((Group("", {"VCPU": 1}),))
    forest = forest_of(rps)

    def roots(strategy: Any) -> str:
        found = candidates_for(forest, query, Generation(4, strategy))
        return "".join(uuid[0] for pieces, _ in spelt(forest, found.requests) for uuid, _, _ in pieces)

    assert roots("depth-first") == "aaab"
    assert roots("breadth-first") == "abab"


def test_without_a_random_order_the_same_question_has_the_same_answer() -> None:
    forest = forest_of([Rp(f"n{i}", {"VCPU": 1}) for i in range(20)])
    query = CandidateQuery((Group("", {"VCPU": 1}),), limit=5)
    assert candidates_for(forest, query) == candidates_for(forest, query)
    seen = {tuple(candidates_for(forest, query, Generation(random=Random(seed))).told) for seed in range(5)}
    assert len(seen) > 1


def test_a_limit_keeps_a_wide_tree_from_being_searched_through() -> None:
    """20 groups over 20 equal children have more candidates than there is time for."""
    rps = [Rp("root"), *(Rp(f"f{i}", {"CUSTOM_VF": 8}, parent="root") for i in range(20))]
    groups = tuple(Group(f"_{i}", {"CUSTOM_VF": 1}) for i in range(20))
    found = candidates_for(forest_of(rps), CandidateQuery(groups, "isolate", limit=10))
    assert len(found.requests) == 10


@pytest.mark.parametrize(("vcpus", "candidates"), [(8, 1), (4, 0)])
def test_what_several_groups_take_of_one_provider_adds_up(vcpus: int, candidates: int) -> None:
    forest = forest_of([Rp("a", {"VCPU": Inventory(8, max_unit=vcpus)})])
    query = CandidateQuery((Group("_A", {"VCPU": 3}), Group("_B", {"VCPU": 3})))
    assert len(candidates_for(forest, query).requests) == candidates
