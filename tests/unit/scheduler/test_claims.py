"""The transaction that several servers' claims on one host share."""

import pytest
from attrs import evolve
from unit_hosts import Sketch, asked, model_of
from unit_records import NOW, facts, flavor, operation, spec, stored

from control.scheduler.claims import Claim, claimed
from control.scheduler.decide import Choice
from control.scheduler.request import Request
from kv.keys import Global
from schemas.codec import from_dict
from schemas.errors import CompareFailed
from schemas.host import CellMapping, StoreAddress
from schemas.messages import SelectItem
from schemas.placement import Inventory
from schemas.topology import NumaCell, TopologyClaim

CELL = stored(Global.CELLS("cell1"), CellMapping("cell1", "c", StoreAddress(("e",), "p/"), None))


def chosen(item: SelectItem, wanted: Request, choice: Choice) -> Claim:
    """As the scheduler makes it in the moment of its choice."""
    return Claim(item, wanted, choice, choice.host.mapping, choice.host.provider, CELL)


def test_a_server_that_was_asked_for_twice_is_counted_once() -> None:
    """Who got no answer asked again, and both questions were decided together: the host kept what the second used
    for ever."""
    model = model_of([Sketch("h1")])
    (host,) = model.hosts.values()

    def claim(server: str) -> Claim:
        item = SelectItem(operation("build", "schedule", server=server, host=None), 7, spec(uuid=server))
        wanted = asked(item.spec)
        return chosen(item, wanted, Choice(host, {"rp-h1": wanted.asked}))

    once = claimed([claim("a"), claim("b")], model.forest, None, NOW, "nova")
    twice = claimed([claim("a"), claim("b"), claim("a")], model.forest, None, NOW, "nova")
    assert twice.usages == once.usages
    assert twice.txn.writes.keys() == once.txn.writes.keys()
    assert twice.operations.keys() == {"a", "b"}


def test_who_finds_no_place_any_more_does_not_hold_up_the_others() -> None:
    """Decided before the others were claimed, all on the same host: it has two processors to pin to."""
    cell = NumaCell(0, 8192, dedicated=frozenset({2, 3}))
    model = model_of([Sketch("h1", facts=facts(topology=(cell,)), inventories={"PCPU": Inventory(2)})])
    (host,) = model.hosts.values()
    pinned = flavor(vcpus=1, extra_specs={"hw:cpu_policy": "dedicated"})

    def claim(server: str) -> Claim:
        item = SelectItem(operation("build", "schedule", server=server, host=None), 7, spec(uuid=server, flavor=pinned))
        wanted = asked(item.spec)
        return chosen(item, wanted, Choice(host, {"rp-h1": {"MEMORY_MB": 512}}))

    found = claimed([claim(server) for server in "abc"], model.forest, None, NOW, "nova")
    assert found.operations.keys() == {"a", "b"}
    assert [lost.item.operation.server for lost in found.lost] == ["c"]
    assert {next(iter(t.cells[0].taken)) for t in found.usages["rp-h1"].topology.values()} == {2, 3}
    lies = found.operations["b"].results["topology"]
    assert from_dict(TopologyClaim, lies) == found.usages["rp-h1"].topology["b"]
    model.set_usages("rp-h1", stored(Global.USAGES("rp-h1"), found.usages["rp-h1"], 30))
    with pytest.raises(CompareFailed, match="no place left"):
        claimed([claim("c")], model.forest, None, NOW, "nova")


def test_a_claim_compares_the_mapping_that_it_was_decided_on() -> None:
    """A claim waited for another one on its host; meanwhile the host was disabled, the operator had his answer, and
    the model heard of it. The claim compared the new mapping, on which nobody had decided, and landed on the host."""
    model = model_of([Sketch("h1")])
    (host,) = model.hosts.values()
    item = SelectItem(operation("build", "schedule", server="a", host=None), 7, spec(uuid="a"))
    claim = chosen(item, wanted := asked(item.spec), Choice(host, {"rp-h1": wanted.asked}))
    before = host.mapping
    assert before is not None
    model.set_mapping("h1", stored(before.key, evolve(before.value, disabled=True), before.mod_revision + 5))
    done = claimed([claim], model.forest, None, NOW, "nova")
    assert done.txn.revisions[before.key.path] == before.mod_revision
