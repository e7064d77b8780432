"""The choice of a host as a specification: hosts, a request, and who is chosen or why nobody is."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit_hosts import Sketch, asked, decided, model_of, names, options
from unit_records import facts, flavor, spec, stored

from control.placement.resources import lacking, needed_by
from control.scheduler.decide import Choice, Refusal, Taste, choose, choose_many
from control.scheduler.filters.shapes import HostFilter
from control.scheduler.model import HostState, Model
from control.scheduler.pipeline import load_pipeline
from kv.keys import Global
from schemas.placement import Inventory, Usages
from schemas.server import ImageRef, RequestSpec

THREE = [Sketch("a"), Sketch("b"), Sketch("c")]


def reasons(found: Choice | Refusal) -> dict[str, int]:
    assert isinstance(found, Refusal), found
    return found.reasons


def test_with_no_host_nobody_is_chosen() -> None:
    found = decided([], spec())
    assert isinstance(found, Refusal)
    assert (found.hosts, found.reasons, found.text()) == (0, {}, "0 of 0 hosts")


def test_the_emptiest_host_comes_first_and_the_next_are_alternates() -> None:
    hosts = [
        Sketch("full", used={"VCPU": 15, "MEMORY_MB": 15000, "DISK_GB": 90}),
        Sketch("half", used={"VCPU": 8, "MEMORY_MB": 8000, "DISK_GB": 50}),
        Sketch("empty"),
    ]
    assert names(decided(hosts, spec())) == ["empty", "half", "full"]
    assert names(decided(hosts, spec(), alternates=1)) == ["empty", "half"]
    assert names(decided(hosts, spec(), alternates=0)) == ["empty"]


def test_equals_are_taken_in_the_order_in_which_they_came() -> None:
    assert names(decided(THREE, spec())) == ["a", "b", "c"]


def test_each_weigher_counts_by_its_span_and_not_its_unit() -> None:
    """A little more memory in MiB must not outweigh twice the processors."""
    hosts = [
        Sketch("memory", vcpu=4, memory=16385, disk=50),
        Sketch("processors", vcpu=64, memory=16384, disk=100),
    ]
    assert names(decided(hosts, spec())) == ["processors", "memory"]


@pytest.mark.parametrize("name", ["VCPU", "MEMORY_MB", "DISK_GB"])
def test_a_host_without_room_is_not_chosen(name: str) -> None:
    total = {"VCPU": 16, "MEMORY_MB": 16384, "DISK_GB": 100}[name]
    asked = {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1}[name]
    just = Sketch("just", used={name: total - asked})
    over = Sketch("over", used={name: total - asked + 1})
    assert names(decided([over, just], spec())) == ["just"]
    assert reasons(decided([over], spec())) == {f"lack {asked} {name}": 1}


def test_one_server_is_never_larger_than_a_unit_allows() -> None:
    hosts = [Sketch("ratio", inventories={"VCPU": Inventory(4, max_unit=4, allocation_ratio=16.0)})]
    assert names(decided(hosts, spec(flavor=flavor(vcpus=4)))) == ["ratio"]
    assert reasons(decided(hosts, spec(flavor=flavor(vcpus=5)))) == {"lack 5 VCPU": 1}


@pytest.mark.parametrize(
    "inventory", [Inventory(16, step_size=2), Inventory(16, min_unit=2)], ids=["step_size", "min_unit"]
)
def test_units_and_steps_are_part_of_the_choice(inventory: Inventory) -> None:
    """They were checked by the claim alone: it lost to nobody, eight times over, and the server waited for ever."""
    hosts = [Sketch("odd", inventories={"VCPU": inventory})]
    assert reasons(decided(hosts, spec())) == {"lack 1 VCPU": 1}
    assert names(decided([*hosts, Sketch("plain")], spec())) == ["plain"]


def test_other_resource_classes_are_asked_of_each_host() -> None:
    request = spec(flavor=flavor(extra_specs={"resources:CUSTOM_METAL": "2"}))
    hosts = [Sketch("none"), Sketch("one", inventories={"CUSTOM_METAL": Inventory(1)})]
    assert reasons(decided(hosts, request)) == {"lack 2 CUSTOM_METAL": 2}
    two = Sketch("two", inventories={"CUSTOM_METAL": Inventory(2)})
    assert names(decided([*hosts, two], request)) == ["two"]


def test_a_request_for_none_of_the_usual_classes() -> None:
    """All columns have room for nothing, the unused ones behind the last host too."""
    zero = {f"resources:{name}": "0" for name in ("VCPU", "MEMORY_MB", "DISK_GB")}
    assert names(decided(THREE, spec(flavor=flavor(extra_specs=zero)))) == ["a", "b", "c"]


def test_the_tried_are_avoided_and_the_preferred_taken() -> None:
    assert names(decided(THREE, spec(), avoid="a")) == ["b", "c"]
    assert names(decided(THREE, spec(), prefer="c")) == ["c", "a", "b"]
    assert reasons(decided(THREE, spec(), avoid="abc")) == {"failed before": 3}


def test_a_preferred_host_still_has_to_fit() -> None:
    hosts = [Sketch("a", alive=False), Sketch("b")]
    assert names(decided(hosts, spec(), prefer="a")) == ["b"]


def test_only_usable_cells_take_servers() -> None:
    hosts = [Sketch("a", cell="cell1"), Sketch("b", cell="cell2")]
    assert names(decided(hosts, spec(), cells=frozenset({"cell2"}))) == ["b"]
    assert reasons(decided(hosts, spec(), cells=frozenset())) == {"in a disabled or unreachable cell": 2}


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        (Sketch("a", alive=False), "down"),
        (Sketch("a", mapping={"disabled": True}), "disabled"),
        (Sketch("a", mapping={"forced_down": True}), "forced down"),
        (Sketch("a", facts=None), "not fully reported yet"),
    ],
)
def test_why_a_host_is_refused(host: Sketch, reason: str) -> None:
    assert reasons(decided([host], spec())) == {reason: 1}
    assert names(decided([host, Sketch("b")], spec())) == ["b"]


def test_a_host_that_is_known_only_in_part_takes_nothing() -> None:
    for part in ("mapping", "provider", "usages", "facts"):
        model = model_of([])
        full = model_of([Sketch("a")]).hosts["a"]
        if part != "mapping":
            model.set_mapping("a", full.mapping)
        if part != "provider":
            model.set_provider("rp-a", full.provider)
        if part != "usages":
            model.set_usages("rp-a", full.usages)
        if part != "facts":
            model.set_facts("a", full.facts)
        model.set_alive("a", True)
        found = _choose(model)
        assert reasons(found), part


def test_a_forced_host_skips_the_filters_but_not_its_capacity() -> None:
    hosts = [Sketch("a"), Sketch("b", mapping={"disabled": True}), Sketch("c", used={"VCPU": 16})]
    assert names(decided(hosts, spec(forced_host="b"))) == ["b"]
    found = decided(hosts, spec(forced_host="c"))
    assert reasons(found) == {"not the forced host": 2, "lack 1 VCPU": 1}


def test_a_requested_host_passes_the_filters_too() -> None:
    hosts = [Sketch("a"), Sketch("b"), Sketch("c", alive=False)]
    assert names(decided(hosts, spec(requested_host="b"))) == ["b"]
    assert reasons(decided(hosts, spec(requested_host="c"))) == {"not the requested host": 2, "down": 1}


def test_a_refusal_tells_the_most_frequent_reason_first() -> None:
    hosts = [*(Sketch(f"d{n}", alive=False) for n in range(3)), Sketch("full", used={"VCPU": 16})]
    found = decided(hosts, spec())
    assert isinstance(found, Refusal)
    assert found.text() == "0 of 4 hosts: 3 down, 1 lack 1 VCPU"


def test_the_model_ignores_older_news_of_usages() -> None:
    model = model_of([Sketch("a")])
    key = Global.USAGES("rp-a")
    model.set_usages("rp-a", stored(key, Usages({"VCPU": 16}), 20))
    model.set_usages("rp-a", stored(key, Usages({}), 19))
    assert isinstance(_choose(model), Refusal)
    model.set_usages("rp-a", stored(key, Usages({}), 21))
    assert isinstance(_choose(model), Choice)


def test_a_model_of_many_hosts_keeps_its_columns_in_step() -> None:
    model = model_of([Sketch(f"h{n}", vcpu=n) for n in range(200)])
    assert model.free("VCPU").tolist() == list(range(200))
    model.set_provider("rp-h7", None)
    assert not model.rows[7].complete
    found = _choose(model)
    assert isinstance(found, Choice)
    assert found.host.host == "h199"


def _choose(model: Model) -> Choice | Refusal:
    request = asked(spec())
    return choose(model, request, load_pipeline(request.settings), Taste(2))


PIPELINE = load_pipeline(options())
"""To look for other parties' filters takes longer than to decide."""
amounts = st.integers(0, 20)
sketches = st.builds(
    Sketch,
    name=st.uuids().map(str),
    vcpu=amounts,
    memory=amounts.map(lambda n: n * 512),
    disk=amounts,
    used=st.fixed_dictionaries({"VCPU": amounts, "MEMORY_MB": amounts.map(lambda n: n * 512), "DISK_GB": amounts}),
    cell=st.sampled_from(["cell1", "cell2", "cell3"]),
    alive=st.booleans(),
    mapping=st.sampled_from([{}, {"disabled": True}, {"forced_down": True}]),
    facts=st.sampled_from([facts(), facts(architectures=("aarch64",)), None]),
)
requests = st.builds(
    lambda vcpus, memory, disk, arch, wanted: spec(
        flavor=flavor(vcpus=vcpus, memory_mb=memory * 512, root_gb=disk),
        image=ImageRef("i", properties={"hw_architecture": arch} if arch else {}),
        requested_host=wanted,
    ),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(0, 6),
    st.sampled_from([None, "x86_64", "aarch64"]),
    st.sampled_from([None, None, None, "nowhere"]),
)


@settings(max_examples=60)
@given(st.lists(sketches, max_size=8), requests, st.integers(0, 3))
def test_whoever_is_chosen_fits_and_passes_every_filter(
    hosts: list[Sketch], request: RequestSpec, alternates: int
) -> None:
    """A host that had used more disk than it has left was refused to servers that ask for no disk."""
    found = decided(hosts, request, alternates, pipeline=PIPELINE)
    by_name = {host.name: host for host in hosts}
    states = model_of(hosts).hosts
    fit = [h for h in hosts if _would_do(h, states[h.name], request)]
    if isinstance(found, Refusal):
        assert fit == []
        assert sum(found.reasons.values()) == found.hosts == len(hosts), "every host has one reason"
        return
    chosen = names(found)
    assert len(chosen) == len(set(chosen)) == min(len(fit), alternates + 1)
    assert all(by_name[name] in fit for name in chosen)


def _would_do(host: Sketch, state: HostState, request: RequestSpec) -> bool:
    fits = lacking(host.offered, host.used, needed_by(request.flavor)) is None
    wanted = request.requested_host in (None, host.name)
    known = host.facts is not None and host.cell in ("cell1", "cell2")
    serves = state.alive and not host.mapping.get("disabled") and not host.mapping.get("forced_down")
    prepared = asked(request)
    askers = [f for f in PIPELINE.filters.values() if isinstance(f, HostFilter)]
    return fits and wanted and known and serves and all(f.run(state, prepared) is None for f in askers)


@settings(max_examples=60)
@given(st.lists(sketches, min_size=1, max_size=6), requests, st.integers(1, 12))
def test_a_batch_takes_what_fits_and_never_more(hosts: list[Sketch], request: RequestSpec, count: int) -> None:
    """As many succeed as would one by one, each on a host with room for all that it was given."""
    one_by_one, model = [], model_of(hosts)
    wanted = asked(request)
    for _ in range(count):
        found = choose(model, wanted, PIPELINE, Taste())
        if isinstance(found, Choice):
            model.reserve(found.resources)
            one_by_one.append(found.host.host)
    batch = choose_many(model_of(hosts), wanted, PIPELINE, Taste(), count)
    chosen = [c.host.host for c in batch if isinstance(c, Choice)]
    assert len(batch) == count
    assert len(chosen) == len(one_by_one)
    by_name = {host.name: host for host in hosts}
    for name in set(chosen):
        used = dict(by_name[name].used)
        for _ in range(chosen.count(name)):
            assert lacking(by_name[name].offered, used, wanted.asked) is None
            used = {c: used.get(c, 0) + wanted.asked.get(c, 0) for c in {*used, *wanted.asked}}


def test_a_batch_of_equal_requests_spreads_as_single_ones_would() -> None:
    batch = choose_many(model_of(THREE), asked(spec()), load_pipeline(options()), Taste(1), 7)
    assert [names(c) for c in batch][:3] == [["a", "b"], ["b", "c"], ["c", "a"]]
    assert sorted(c.host.host for c in batch if isinstance(c, Choice)) == ["a", "a", "a", "b", "b", "c", "c"]


def test_a_batch_stacks_where_more_free_memory_counts_against_a_host() -> None:
    """Nova's way to fill hosts one by one: negative multipliers."""
    stacking = options(ram_weight_multiplier=-1.0, cpu_weight_multiplier=-1.0, disk_weight_multiplier=-1.0)
    hosts = [Sketch("a", vcpu=2), Sketch("b", vcpu=2)]
    batch = choose_many(model_of(hosts), asked(spec(), stacking), load_pipeline(stacking), Taste(), 4)
    assert [c.host.host for c in batch if isinstance(c, Choice)] == ["a", "a", "b", "b"]


def test_those_of_a_batch_that_do_not_fit_are_refused_for_lack_of_room() -> None:
    batch = choose_many(model_of([Sketch("a", vcpu=2)]), asked(spec()), load_pipeline(options()), Taste(), 3)
    assert isinstance(batch[1], Choice)
    assert reasons(batch[2]) == {"lack 1 VCPU": 1}


def test_the_host_is_drawn_from_the_best_when_asked_for() -> None:
    request, pipeline, many = asked(spec()), load_pipeline(options()), [Sketch(f"h{n}", vcpu=99 - n) for n in range(50)]
    model, draw = model_of(many), Random(7)
    drawn = {names(choose(model, request, pipeline, Taste(0, subset=3, draw=draw)))[0] for _ in range(60)}
    assert drawn == {"h0", "h1", "h2"}
    equal = model_of(THREE)
    shuffled = {names(choose(equal, request, pipeline, Taste(0, shuffle=True, draw=draw)))[0] for _ in range(60)}
    assert shuffled == {"a", "b", "c"}


def test_models_of_different_schedulers_break_ties_differently() -> None:
    """All ran after the same host: of eight schedulers seven lost, every time."""
    first = set()
    for seed in range(20):
        model = Model(Random(seed))
        for state in model_of(THREE).rows:
            model.set_mapping(state.host, state.mapping)
            model.set_provider(f"rp-{state.host}", state.provider)
            model.set_usages(f"rp-{state.host}", state.usages)
            model.set_facts(state.host, state.facts)
            model.set_alive(state.host, True)
        first.add(names(_choose(model))[0])
    assert first == {"a", "b", "c"}


def test_alternates_may_be_bound_to_the_cell_of_the_host() -> None:
    hosts = [Sketch("a", cell="cell1", vcpu=32), Sketch("b", cell="cell2"), Sketch("c", cell="cell1", vcpu=8)]
    assert names(decided(hosts, spec())) == ["a", "b", "c"]
    assert names(decided(hosts, spec(), settings=options({"alternates_in_same_cell": True}))) == ["a", "c"]


def test_claims_under_way_count_as_used() -> None:
    model, request = model_of([Sketch("a", vcpu=1), Sketch("b", vcpu=1)]), asked(spec())
    pipeline = load_pipeline(request.settings)
    for host in ("a", "b"):
        found = choose(model, request, pipeline, Taste())
        assert isinstance(found, Choice)
        assert names(found) == [host]
        model.reserve(found.resources)
    assert isinstance(choose(model, request, pipeline, Taste()), Refusal)
    assert isinstance(found, Choice)
    model.reserve(found.resources, -1)
    assert names(choose(model, request, pipeline, Taste())) == ["b"]
