"""A cell whose etcd stands still (SIGSTOP), over HTTP: its servers are known, changes of them are refused in time, the
servers of the other cell are as quick as ever, and all is as before once it goes on."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from attrs import evolve
from compute_client import Client
from substrate import EtcdServer, eventually
from unit_records import spec

from control.top import Top
from kv.keys import Cell, Global
from kv.txn import Txn
from schemas.host import BusAddress, CellMapping, StoreAddress
from schemas.server import HostedServer, Instance, ServerIndex, time_key

Api = Callable[..., Client]
Place = Callable[..., Awaitable[Instance]]

NOTICED_SECONDS = 4.0
"""the first call that meets it: a deadline that is missed, a probe that no member answers, and a busy machine"""
DEADLINE_SECONDS = 15.0
"""of any call, on a busy machine"""
QUICK_SECONDS = 1.0
"""of what asks the cell nothing, on a busy machine"""


@pytest.fixture
async def cold(top: Top, fragile_etcd: EtcdServer) -> AsyncIterator[str]:
    """A second cell, on an etcd of its own."""
    bus = top.cells.access("cell1").mapping.bus
    assert bus is not None
    address = StoreAddress((fragile_etcd.endpoint,), f"test-{uuid4().hex}/cells/cold/")
    mapping = CellMapping("cold", str(uuid4()), address, BusAddress(bus.url))
    await top.store.commit(Txn("given cell").create(Global.CELLS("cold"), mapping))
    await eventually(lambda: "cold" in top.cells.names())
    yield "cold"
    fragile_etcd.resume()


async def move(top: Top, server: Instance, cell: str) -> None:
    """What `place` made in cell1 is made anew in another one."""
    mapping = await top.store.get(Global.INSTANCES(server.uuid))
    assert mapping
    when = time_key(server.created_us, server.uuid)
    line = ServerIndex(server.project, cell)
    txn = Txn("given server").replace(mapping, evolve(mapping.value, cell=cell))
    txn.put(Global.PROJECT_SERVERS(server.project, when), line).put(Global.ALL_SERVERS(when), line)
    await top.store.commit(txn.put(Global.SPECS(server.uuid), spec()))
    there = Txn("given server").put(Cell.INSTANCES(server.project, when), server)
    there.put(Cell.BY_HOST(str(server.host), server.uuid), HostedServer(server.project, server.created_us))
    await top.cells.store(cell).commit(there)
    old = await top.cells.store("cell1").get(Cell.INSTANCES(server.project, when))
    assert old
    await top.cells.store("cell1").commit(Txn("given server").remove(old))


async def timed(call: Awaitable[Any]) -> tuple[Any, float]:
    began = time.monotonic()
    return await call, time.monotonic() - began


async def test_a_frozen_cell_costs_its_own_servers_only(
    top: Top, api: Api, place: Place, cold: str, fragile_etcd: EtcdServer
) -> None:
    """Each show cost 2 to 4 s, each list 2 s, a delete or an action up to minutes, while the cell stood still."""
    here, there = await place(name="here"), await place(name="there")
    await move(top, there, cold)
    member = api(version="2.69")
    assert (await member.get(f"/servers/{there.uuid}"))["server"]["status"] == "ACTIVE"
    fragile_etcd.pause()

    shown, seconds = await timed(member.get(f"/servers/{there.uuid}"))
    assert shown["server"]["status"] == "UNKNOWN"
    assert seconds < NOTICED_SECONDS
    for _ in range(3):
        shown, seconds = await timed(member.get(f"/servers/{there.uuid}"))
        assert shown["server"]["status"] == "UNKNOWN"
        assert seconds < QUICK_SECONDS
        listed, seconds = await timed(member.get("/servers/detail"))
        assert {s["id"]: s["status"] for s in listed["servers"]} == {here.uuid: "ACTIVE", there.uuid: "UNKNOWN"}
        assert seconds < QUICK_SECONDS
        shown, seconds = await timed(member.get(f"/servers/{here.uuid}"))
        assert shown["server"]["status"] == "ACTIVE"
        assert seconds < QUICK_SECONDS

    changes = (
        ("DELETE", f"/servers/{there.uuid}", None),
        ("POST", f"/servers/{there.uuid}/action", {"os-stop": None}),
        ("PUT", f"/servers/{there.uuid}", {"server": {"name": "renamed"}}),
    )
    for method, path, body in changes:
        answer, seconds = await timed(member.send(method, path, body))
        assert answer.status_code == 503, f"{method} {path}: {answer.text}"
        assert "retry-after" in answer.headers
        assert seconds < DEADLINE_SECONDS
    _, seconds = await timed(member.ok("POST", f"/servers/{here.uuid}/action", {"os-stop": None}, 202))
    assert seconds < QUICK_SECONDS

    fragile_etcd.resume()

    async def is_back() -> bool:
        return bool((await member.get(f"/servers/{there.uuid}"))["server"]["status"] == "ACTIVE")

    await eventually(is_back, 30)
    await eventually(lambda: cold in top.cells.answering(), 30)
    await member.ok("DELETE", f"/servers/{there.uuid}", code=204)
