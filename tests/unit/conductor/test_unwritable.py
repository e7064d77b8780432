"""A request that can be read and not be written again ends as ERROR by itself."""

from typing import Any

import orjson
import pytest
from aetcd import rpc
from top_rig import open_rig

from control.conductor.top.selecting import Selecting
from kv.keys import Global
from schemas.codec import dumps
from schemas.errors import UnwritableRecord
from schemas.messages import SelectItem
from schemas.server import CELL0


def nested(depth: int) -> Any:
    hint: Any = "deep"
    for _ in range(depth):
        hint = [hint]
    return hint


def test_what_is_nested_too_deeply_is_told_as_that() -> None:
    with pytest.raises(UnwritableRecord, match="cannot be encoded"):
        dumps(nested(300))


async def test_hints_that_cannot_be_sent_end_the_build_as_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hints were nested to a depth that can be read and not be written: the operation was tried for ever, and wrote
    8 MB of log each time."""

    async def send(_: Selecting, item: SelectItem) -> Any:
        dumps(item)

    monkeypatch.setattr(Selecting, "host_for", send)
    async with open_rig() as rig:
        server = await rig.create()
        for key in (Global.SPECS(server), Global.REQUESTS(server)):
            stored = await rig.top.store.get(key)  # type: ignore[arg-type]  # of either class
            record = orjson.loads(dumps(stored.value))  # type: ignore[union-attr]  # both are there
            holder = record if key.path.startswith("specs") else record["instance"]
            holder["scheduler_hints"] = {"query": "HINT"}
            deep = orjson.dumps(record).replace(b'"HINT"', b"[" * 300 + b"]" * 300)
            put = rpc.RequestOp(request_put=rpc.PutRequest(key=f"g/{key.path}".encode(), value=deep))
            await rig.top.store.etcd.txn(rpc.TxnRequest(success=[put]), writes=True)
        assert await rig.step(server)
        assert (await rig.operation(server)).value.step == "bury"
        await rig.step(server)
        there = await rig.instance(server, CELL0)
        assert there is not None
        assert there.value.vm_state == "error"
        assert there.value.fault is not None
        assert "cannot be encoded" in there.value.fault.details
        assert not await rig.step(server)
