"""Hosts whose resources lie on several providers: what a claim takes where, against a model that tries everything."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from attrs import evolve
from brute_candidates import Brute, Pieces
from hypothesis import given, settings
from hypothesis import strategies as st
from unit_hosts import asked, names, options
from unit_placement import Rp
from unit_records import facts, flavor, spec, stored

from control.placement.forest import SHARING
from control.scheduler.decide import Choice, Refusal, Taste, choose, choose_many
from control.scheduler.explain import explain
from control.scheduler.model import Model
from control.scheduler.pipeline import load_pipeline
from control.scheduler.request import Request
from control.scheduler.trees import Resources, query_of
from kv.keys import Global
from schemas.host import HostMapping
from schemas.placement import Inventory, Usages

PIPELINE = load_pipeline(options())
OFFERS = {"VCPU": 8, "MEMORY_MB": 8192}
DISK = Rp("pool", {"DISK_GB": 100}, frozenset({SHARING}), frozenset({"rack"}))


def model_of(providers: Iterable[Rp], hosts: Iterable[str]) -> Model:
    """Providers of these names are hosts' own."""
    model = Model()
    for name in hosts:
        model.set_mapping(name, stored(Global.HOSTS(name), HostMapping(name, "cell1", name)))
        model.set_facts(name, facts())
        model.set_alive(name, True)
    for rp in providers:
        host = rp.name if rp.name in model.hosts else None
        model.set_provider(rp.name, stored(Global.PROVIDERS(rp.name), evolve(rp.provider, host=host, cell="cell1")))
        model.set_usages(rp.name, stored(Global.USAGES(rp.name), Usages(dict(rp.used))))
    return model


def wanted(disk: int = 10, **extra_specs: str) -> Request:
    specs = {name.replace("__", ":", 1): value for name, value in extra_specs.items()}
    return asked(spec(flavor=flavor(vcpus=2, memory_mb=1024, root_gb=disk, extra_specs=specs)))


def chosen(model: Model, request: Request, count: int = 1) -> list[Choice | Refusal]:
    return choose_many(model, request, PIPELINE, Taste(), count)


def taken(found: Choice | Refusal) -> Resources:
    assert isinstance(found, Choice), found
    return found.resources


def host(name: str, **more: Any) -> Rp:
    return Rp(name, OFFERS, aggregates=frozenset({"rack"}), **more)


def test_disk_is_taken_of_a_pool_that_shares() -> None:
    (found,) = chosen(model_of([host("a"), DISK], ["a"]), wanted())
    assert taken(found) == {"a": {"MEMORY_MB": 1024, "VCPU": 2}, "pool": {"DISK_GB": 10}}


def test_a_pool_serves_only_hosts_of_its_aggregates() -> None:
    (found,) = chosen(model_of([Rp("a", OFFERS), DISK], ["a"]), wanted())
    assert isinstance(found, Refusal)
    assert found.reasons == {"lack 10 DISK_GB": 1}


def test_what_hosts_share_is_given_once() -> None:
    """Each of the three had room for all of them by itself."""
    model = model_of([host("a"), host("b"), DISK], ["a", "b"])
    found = chosen(model, wanted(disk=40), 3)
    assert [isinstance(one, Choice) for one in found] == [True, True, False]
    assert isinstance(found[2], Refusal)
    column = model.forest.columns.get("DISK_GB")
    assert column is not None
    assert column.used.sum() == 0, "only a claim counts"


def test_claims_under_way_count_on_all_their_providers() -> None:
    model = model_of([host("a"), DISK], ["a"])
    (first,) = chosen(model, wanted(disk=60))
    model.reserve(taken(first))
    assert isinstance(chosen(model, wanted(disk=60))[0], Refusal)
    model.reserve(taken(first), -1)
    assert isinstance(chosen(model, wanted(disk=60))[0], Choice)


def test_devices_are_taken_of_children_apart_when_isolated() -> None:
    cards = [Rp(f"card{n}", {"VGPU": 1}, frozenset({"CUSTOM_FAST"} if n else ()), parent="a") for n in range(2)]
    model = model_of([host("a", used={"VCPU": 1}), *cards], ["a"])
    two = {"resources1__VGPU": "1", "resources2__VGPU": "1", "group_policy": "isolate"}
    (found,) = chosen(model, wanted(disk=0, **two))
    assert taken(found) == {"a": {"MEMORY_MB": 1024, "VCPU": 2}, "card0": {"VGPU": 1}, "card1": {"VGPU": 1}}
    (fast,) = chosen(model, wanted(disk=0, resources1__VGPU="1", trait1__CUSTOM_FAST="required"))
    assert taken(fast)["card1"] == {"VGPU": 1}
    (both,) = chosen(model, wanted(disk=0, **two, trait1__CUSTOM_FAST="required", trait2__CUSTOM_FAST="required"))
    assert isinstance(both, Refusal)
    assert both.reasons == {"have no providers that give all of it together": 1}


def test_a_host_never_gives_what_another_host_of_its_tree_has() -> None:
    rack = Rp("rack0", {"CUSTOM_POWER": 3})
    full = host("a", parent="rack0", used={"MEMORY_MB": 8192})
    model = model_of([rack, full, host("b", parent="rack0")], ["a", "b"])
    found = chosen(model, wanted(disk=0, resources__CUSTOM_POWER="1"), 4)
    assert [c.host.host for c in found if isinstance(c, Choice)] == ["b", "b", "b"]
    assert taken(found[0])["rack0"] == {"CUSTOM_POWER": 1}


def test_hosts_beside_trees_are_decided_by_columns_alone() -> None:
    alone = Rp("alone", {**OFFERS, "DISK_GB": 50})
    model = model_of([host("a"), alone, DISK], ["a", "alone"])
    found = chosen(model, wanted(), 8)
    assert Counter(c.host.host for c in found if isinstance(c, Choice)) == {"a": 4, "alone": 4}


def test_explanations_count_what_is_shared_once() -> None:
    model = model_of([host("a"), host("b"), DISK], ["a", "b"])
    request = wanted(disk=30)
    found = explain(model, request, load_pipeline(request.settings))
    assert (found.fitting, found.times) == (2, 3)


CLASSES = ("VCPU", "MEMORY_MB", "DISK_GB", "VGPU")
amounts = st.dictionaries(st.sampled_from(CLASSES), st.integers(1, 6), min_size=1)
some_traits = st.frozensets(st.sampled_from(["CUSTOM_A", "CUSTOM_B"]), max_size=1)


@st.composite
def sites(draw: st.DrawFn) -> tuple[list[Rp], list[str]]:
    """Up to three hosts, under a rack or not, with children, and pools that share."""
    rps: list[Rp] = []
    aggregates = st.frozensets(st.sampled_from(["x", "y"]), max_size=2)
    rack = draw(st.booleans())
    if rack:
        rps.append(Rp("rack", draw(amounts), draw(some_traits)))
    hosts = [f"h{n}" for n in range(draw(st.integers(1, 3)))]
    for name in hosts:
        parent = "rack" if rack and draw(st.booleans()) else None
        offers: dict[str, Inventory | int] = {"VCPU": draw(st.integers(1, 6)), **draw(amounts)}
        rps.append(Rp(name, offers, draw(some_traits), draw(aggregates), parent))
        below = range(draw(st.integers(0, 2)))
        rps += [Rp(f"{name}.{n}", draw(amounts), draw(some_traits), draw(aggregates), name) for n in below]
    pools = range(draw(st.integers(0, 2)))
    rps += [Rp(f"pool{n}", draw(amounts), draw(some_traits) | {SHARING}, draw(aggregates)) for n in pools]
    return rps, hosts


@st.composite
def requests(draw: st.DrawFn) -> Request:
    extra = {f"resources:{name}": str(draw(st.integers(0, 3))) for name in CLASSES[1:]}
    for suffix in draw(st.sampled_from([(), ("1",), ("1", "2")])):
        extra[f"resources{suffix}:{draw(st.sampled_from(CLASSES))}"] = str(draw(st.integers(1, 2)))
    # Traits of a group that asks for nothing are the host's own, of which placement's candidates know nothing.
    plain = any(int(v) for k, v in extra.items() if k.startswith("resources:")) or not {
        "resources1:VCPU",
        "resources2:VCPU",
    }.intersection(extra)
    for suffix, asks in (("", plain), ("1", any(k.startswith("resources1:") for k in extra))):
        if draw(st.booleans()) and asks:
            extra[f"trait{suffix}:CUSTOM_A"] = draw(st.sampled_from(["required", "forbidden"]))
    if draw(st.booleans()):
        extra["group_policy"] = "isolate"
    return asked(spec(flavor=flavor(vcpus=draw(st.integers(1, 3)), root_gb=0, extra_specs=extra)))


def possible(rps: list[Rp], hosts: list[str], request: Request) -> dict[str, set[Pieces]]:
    """By host what could be taken for it."""
    brute = Brute(rps)
    found: dict[str, set[Pieces]] = {}
    for pieces, _ in brute.candidates(query_of(request)):
        owners = {next((u for u in brute.line(uuid) if u in hosts), None) for uuid, _, _ in pieces} - {None}
        (own, *others) = sorted(str(o) for o in owners) or [""]
        if not others and any(uuid == own for uuid, _, _ in pieces):
            found.setdefault(own, set()).add(pieces)
    return found


def pieces_of(resources: Resources) -> Pieces:
    return frozenset((uuid, name, n) for uuid, amounts in resources.items() for name, n in amounts.items())


@settings(max_examples=150)
@given(sites(), requests())
def test_a_host_is_chosen_if_placement_has_a_candidate_for_it(
    site: tuple[list[Rp], list[str]], request: Request
) -> None:
    rps, hosts = site
    could = possible(rps, hosts, request)
    found = choose(model_of(rps, hosts), request, PIPELINE, Taste(3))
    if isinstance(found, Refusal):
        assert could == {}
        assert sum(found.reasons.values()) == len(hosts), "every host has one reason"
        return
    assert pieces_of(found.resources) in could[found.host.host]
    assert set(names(found)) == set(could)


@settings(max_examples=100)
@given(sites(), requests(), st.integers(1, 8))
def test_a_batch_takes_what_is_there_and_no_more(
    site: tuple[list[Rp], list[str]], request: Request, count: int
) -> None:
    rps, hosts = site
    batch = chosen(model_of(rps, hosts), request, count)
    by_name = {rp.name: rp for rp in rps}
    used: Counter[tuple[str, str]] = Counter()
    for one in batch:
        for uuid, name, amount in pieces_of(one.resources) if isinstance(one, Choice) else ():
            used[uuid, name] += amount
    assert all(amount <= by_name[uuid].inventories[name].capacity for (uuid, name), amount in used.items())
    if any(isinstance(one, Refusal) for one in batch):
        left = [evolve(rp, used={n: a for (uuid, n), a in used.items() if uuid == rp.name}) for rp in rps]
        assert possible(left, hosts, request) == {}
