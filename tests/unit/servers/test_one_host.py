"""A change of one host costs that host, however many there are."""

from typing import Any

from top_rig import open_rig

from control.cells.hosts import get_host, set_host
from kv.keys import Cell, Global
from kv.store import Store
from kv.txn import Txn
from schemas.host import HostMapping
from schemas.placement import Usages
from schemas.server import HostedServer


async def test_enabling_one_host_lists_no_others(monkeypatch: Any) -> None:
    """All hosts, services and servers' lines of every cell were listed to answer with one host."""
    async with open_rig() as rig:
        txn = Txn("hosts")
        for n in range(20):
            txn.create(Global.HOSTS(f"h{n}"), HostMapping(f"h{n}", "cell1", f"rp{n}"))
            txn.create(Global.USAGES(f"rp{n}"), Usages({"VCPU": n}))
        await rig.top.store.commit(txn)
        line = Txn("line").create(Cell.BY_HOST("h7", "s1"), HostedServer("p1", 1))
        await rig.top.cells.store("cell1").commit(line.create(Cell.BY_HOST("h8", "s2"), HostedServer("p1", 1)))

        async def unexpected(self: Store, span: Any, *_: Any) -> Any:
            assert span.start.startswith("aggregates/"), f"{span.start} was listed"
            return []

        for way in ("range", "paths", "changed"):
            monkeypatch.setattr(Store, way, unexpected)
        view = await set_host(rig.top, "h7", disabled=True, reason="fan")
        assert (view.mapping.host, view.mapping.disabled, view.instances, view.usages) == ("h7", True, 1, {"VCPU": 7})
        view = await set_host(rig.top, "h7", disabled=False)
        assert view == await get_host(rig.top, "h7")
        assert not view.mapping.disabled
