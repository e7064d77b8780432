"""The transaction that several servers' claims on one host share."""

from unit_hosts import Sketch, asked, model_of
from unit_records import NOW, operation, spec, stored

from control.scheduler.claims import Claim, claimed
from control.scheduler.decide import Choice
from kv.keys import Global
from schemas.host import CellMapping, StoreAddress
from schemas.messages import SelectItem

CELLS = {"cell1": stored(Global.CELLS("cell1"), CellMapping("cell1", "c", StoreAddress(("e",), "p/"), None))}


def test_a_server_that_was_asked_for_twice_is_counted_once() -> None:
    """Who got no answer asked again, and both questions were decided together: the host kept what the second used
    for ever."""
    model = model_of([Sketch("h1")])
    (host,) = model.hosts.values()

    def claim(server: str) -> Claim:
        item = SelectItem(operation("build", "schedule", server=server, host=None), 7, spec(uuid=server))
        wanted = asked(item.spec)
        return Claim(item, wanted, Choice(host, {"rp-h1": wanted.asked}))

    once = claimed([claim("a"), claim("b")], model.forest, CELLS, None, NOW, "nova")
    twice = claimed([claim("a"), claim("b"), claim("a")], model.forest, CELLS, None, NOW, "nova")
    assert twice.usages == once.usages
    assert twice.txn.writes.keys() == once.txn.writes.keys()
    assert twice.operations.keys() == {"a", "b"}
