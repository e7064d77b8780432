"""What a user changed and was answered 200 for goes with the server whenever it changes its store."""

import pytest
from attrs import evolve, fields
from top_rig import USER, Rig, before_commit, open_rig
from unit_records import NOW, instance

from control.servers.change import update_server
from control.servers.handover import USER_FIELDS, with_user_fields
from kv.keys import Cell, Global
from schemas.server import CELL0, Instance


def changed(server: Instance) -> Instance:
    return evolve(
        server, name="renamed", locked_by="owner", metadata={"k": "v"}, tags=("blue",), description="of the shop"
    )


async def update(rig: Rig, server: str) -> None:
    await update_server(rig.top, USER, server, changed)


def shows_update(server: Instance) -> bool:
    return with_user_fields(server, changed(server)) is server


async def test_an_update_during_the_hand_over_reaches_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """The super conductor wrote the server into its cell from the request as it had read it; the request was updated
    and locked before it was removed, and the cell kept the older draft: not even the lock was there any more."""
    async with open_rig() as rig:
        server = await rig.create()
        await rig.choose(server)
        before_commit(monkeypatch, "hand over", lambda: update(rig, server))
        await rig.step(server)
        there = await rig.instance(server)
        assert there is not None
        assert shows_update(there.value)
        assert there.value.host == "h1"
        assert await rig.top.store.get(Global.REQUESTS(server)) is None


async def test_an_update_during_the_hand_over_to_cell0_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As above, for a server that found no host."""
    async with open_rig() as rig:
        server = await rig.create()
        await rig.refuse(server)
        before_commit(monkeypatch, "hand over", lambda: update(rig, server))
        await rig.step(server)
        there = await rig.instance(server, CELL0)
        assert there is not None
        assert shows_update(there.value)
        assert there.value.vm_state == "error"


async def test_an_update_of_a_server_that_goes_back_to_the_top_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """An update had found the server in its cell. Before it was committed there the top had copied the server, and then
    removed it with the update that had been answered 200."""
    async with open_rig() as rig:
        server = await rig.create()
        await rig.choose(server)
        await rig.step(server)
        await rig.give_back(server)
        before_commit(monkeypatch, "update server", lambda: rig.step(server))
        await update(rig, server)
        assert (await rig.operation(server)).value.step == "clear"
        await rig.step(server)
        assert await rig.instance(server) is None
        request = await rig.top.store.get(Global.REQUESTS(server))
        assert request is not None
        assert shows_update(request.value.instance)
        await rig.choose(server, host="h2")
        await rig.step(server)
        there = await rig.instance(server)
        assert there is not None
        assert shows_update(there.value)
        assert (there.value.host, there.value.attempt) == ("h2", 2)


async def test_an_update_waits_while_a_sealed_server_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the seal and the copy no update is answered: what it would write is not in the copy any more."""
    async with open_rig() as rig:
        server = await rig.create()
        await rig.choose(server)
        await rig.step(server)
        await rig.give_back(server)
        refused = []

        async def locked_out() -> None:
            sealed = await rig.instance(server)
            try:
                await update(rig, server)
            except Exception as error:
                refused.append((type(error).__name__, await rig.instance(server) == sealed))

        before_commit(monkeypatch, "take back", locked_out)
        await rig.step(server)
        assert refused == [("Unavailable", True)]
        assert await rig.top.cells.store("cell1").paths(Cell.OUTBOX.under()) != []
        await update(rig, server)
        request = await rig.top.store.get(Global.REQUESTS(server))
        assert request is not None
        assert shows_update(request.value.instance)


def test_user_fields_are_fields_and_a_copy_without_a_difference_is_the_server_itself() -> None:
    assert set(USER_FIELDS) <= {f.name for f in fields(Instance)}
    server = instance()
    assert with_user_fields(server, evolve(server, host="h9", updated=NOW)) is server
    assert with_user_fields(server, evolve(server, name="x", updated=NOW)).updated == NOW
