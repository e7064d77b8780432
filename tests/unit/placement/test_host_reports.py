"""What becomes of a host's inventory when its agent reports another one."""

from collections import defaultdict
from typing import Any

import pytest
from unit_placement import Rp
from unit_records import NOW, facts, stored

from control.placement.reading import Reading
from control.placement.resources import offered_by
from control.placement.writes.hosts import Report, report
from kv.keys import Global
from kv.txn import Txn
from schemas.placement import Inventory, Usages
from schemas.settings import SchedulerSettings


def reported(rp: Rp, **host: int) -> Txn:
    known: dict[str, Any] = defaultdict(lambda: None)
    known[Global.PROVIDERS(rp.name).path] = stored(Global.PROVIDERS(rp.name), rp.provider)
    known[Global.USAGES(rp.name).path] = stored(Global.USAGES(rp.name), Usages(rp.used))

    class Records(Reading):
        def get(self, key: Any, *, whole: bool = True) -> Any:
            return known[key.path]

    offered = offered_by(facts(**host), SchedulerSettings())
    return report(Records(None), Report(rp.name, rp.name, "h1", "cell1", offered, frozenset()), NOW)


@pytest.mark.parametrize(
    ("used", "left"),
    [
        ({}, {"CUSTOM_X": Inventory(4), "PCPU": Inventory(8, max_unit=8)}),
        (
            {"VCPU": 3},
            {"CUSTOM_X": Inventory(4), "PCPU": Inventory(8, max_unit=8), "VCPU": Inventory(8, reserved=8, max_unit=8)},
        ),
    ],
)
def test_processors_that_are_no_longer_shared(used: dict[str, int], left: dict[str, Inventory]) -> None:
    """Those that servers hold stay in the inventory, which gives no more of them; other classes are not the host's."""
    rp = Rp("rp1", {"VCPU": Inventory(8, max_unit=8), "CUSTOM_X": 4}, used=used)
    txn = reported(rp, vcpus=0, pcpus=8)
    found = txn.writes[Global.PROVIDERS("rp1").path].value.inventories
    assert {name: found[name] for name in found if name not in ("MEMORY_MB", "DISK_GB")} == left
