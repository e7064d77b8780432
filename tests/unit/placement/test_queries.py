"""Query strings of the Placement API: what each version lets through and what it comes to."""

import pytest

from control.placement.api import parsing
from control.placement.api.accept import accepts
from control.placement.api.candidates_query import parse
from control.placement.api.microversions import MAX, negotiate
from control.placement.api.query import parse_query
from control.placement.query import Group, Wanted
from schemas.errors import BadRequest, BadValue, DuplicateKey, MissingValue, NotAcceptable

A, B = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa", "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"


def wanted(*any_of: set[str], forbidden: set[str] = frozenset()) -> Wanted:  # type: ignore[assignment]
    return Wanted(tuple(frozenset(names) for names in any_of), frozenset(forbidden))


@pytest.mark.parametrize(
    ("values", "version", "found"),
    [
        (["T1,T2"], 18, wanted({"T1"}, {"T2"})),
        (["T1", "T2"], 38, wanted({"T2"})),
        (["T1", "T2"], 39, wanted({"T1"}, {"T2"})),
        (["T1,!T2"], 22, wanted({"T1"}, forbidden={"T2"})),
        (["in:T1, T2", "!T3"], 39, wanted({"T1", "T2"}, forbidden={"T3"})),
        (["T1,!T2"], 21, None),
        (["in:T1,T2"], 38, None),
        (["in:T1,!T2"], 39, None),
        (["T1,,T2"], 39, None),
        (["!"], 39, None),
        ([""], 39, None),
    ],
)
def test_traits(values: list[str], version: int, found: Wanted | None) -> None:
    if found is None:
        with pytest.raises(BadRequest):
            parsing.traits(values, version)
    else:
        assert parsing.traits(values, version) == found


@pytest.mark.parametrize(
    ("values", "version", "found"),
    [
        ([A], 3, wanted({A})),
        ([A.replace("-", "").upper()], 3, wanted({A.replace("-", "").upper()})),
        ([f"in:{A},{B}"], 3, wanted({A, B})),
        ([A, B], 24, wanted({A}, {B})),
        ([f"!{A}", f"!in:{A},{B}"], 32, wanted(forbidden={A, B})),
        ([A, B], 23, None),
        ([f"!{A}"], 31, None),
        ([f"{A},{B}"], 39, None),
        ([f"in:!{A},{B}"], 39, None),
        (["in:"], 39, None),
    ],
)
def test_aggregates(values: list[str], version: int, found: Wanted | None) -> None:
    if found is None:
        with pytest.raises(BadRequest):
            parsing.aggregates(values, version)
    else:
        assert parsing.aggregates(values, version) == found


def test_groups_of_a_candidate_query() -> None:
    text = (
        f"resources_NET=VGPU:1&resources=VCPU:2,DISK_GB:5&required=T1&member_of={A}&in_tree_NET={B}&limit=3"
        "&required_ACC=T2&same_subtree=_NET,_ACC&group_policy=isolate&root_required=T3,!T4"
    )
    query = parse(parse_query(text.encode()), MAX)
    assert query.groups == (
        Group("", {"VCPU": 2, "DISK_GB": 5}, wanted({"T1"}), wanted({A})),
        Group("_NET", {"VGPU": 1}, in_tree=B),
        Group("_ACC", traits=wanted({"T2"})),
    )
    assert (query.policy, query.limit, query.nested) == ("isolate", 3, True)
    assert query.same_subtrees == (frozenset({"_NET", "_ACC"}),)
    assert query.root == wanted({"T3"}, forbidden={"T4"})
    assert not parse({"resources": ["VCPU:1"]}, 28).nested


@pytest.mark.parametrize(
    ("text", "version", "error"),
    [
        ("resources1=VCPU:1&required2=T1&group_policy=none", 36, BadValue),
        ("resources1=VCPU:1&same_subtree=1,2", 36, BadValue),
        ("resources1=VCPU:1&same_subtree=1,", 36, BadValue),
        ("required1=T1&same_subtree=1", 36, MissingValue),
        ("resources=VCPU:1&root_required=T1&root_required=T2", 36, DuplicateKey),
        ("resources=VCPU:1&root_required=T1,!T1", 36, BadValue),
        ("resources=VCPU:1&required=T1,!T1", 22, BadRequest),
        ("resources1=VCPU:1&resources2=VCPU:1", 25, BadRequest),
        ("required=T1", 25, BadRequest),
        ("", 25, BadRequest),
    ],
)
def test_what_makes_no_sense(text: str, version: int, error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        parse(parse_query(text.encode()), version)
    assert type(raised.value) is error


@pytest.mark.parametrize(
    ("header", "minor"),
    [
        (None, 0),
        ("placement 1.10", 10),
        ("placement latest", MAX),
        ("compute 2.90", 0),
        ("compute 2.90, placement 1.4", 4),
        ("Placement  1.4", 4),
        ("placement 1.40", NotAcceptable),
        ("placement 0.5", NotAcceptable),
        ("placement one", BadRequest),
        ("placement 1.2.3", BadRequest),
    ],
)
def test_versions(header: str | None, minor: int | type[Exception]) -> None:
    headers = {"openstack-api-version": header} if header else {}
    if isinstance(minor, int):
        assert negotiate(headers) == minor
    else:
        with pytest.raises(minor):
            negotiate(headers)


@pytest.mark.parametrize(
    ("header", "json"),
    [(None, True), ("*/*", True), ("application/*;q=0.1", True), ("text/html", False), ("application/json;q=0", False)],
)
def test_what_a_client_takes(header: str | None, json: bool) -> None:
    assert accepts(header, "application/json") == json
