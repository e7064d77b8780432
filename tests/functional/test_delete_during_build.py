"""A delete at every moment of a build: everything goes, whatever was under way. And builds that are given back while
the top is between two of its steps."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from attrs import define, evolve, field
from substrate import eventually, map_site
from thread_site import Host, Site, running_site

from agents.drivers.simulated import Fault
from control.cells.hosts import set_host
from control.conductor.top.builds import Builds
from control.conductor.top.outboxes import Outboxes
from kv.keys import Cell, Global
from kv.store import Store
from kv.txn import Txn
from schemas.errors import CompareFailed, HostFull, UnknownOutcome
from schemas.settings import BusSettings, StoreSettings
from schemas.shards import shard_of


@define(eq=False)
class Gate:
    """Holds whoever calls a method of a shell, with a transaction of this purpose if one is named."""

    purpose: str | None = None
    reached: asyncio.Event = field(factory=asyncio.Event)
    opened: asyncio.Event = field(factory=asyncio.Event)

    async def passed(self, arguments: tuple[Any, ...]) -> None:
        if self.purpose is None or any(isinstance(a, Txn) and a.purpose == self.purpose for a in arguments):
            self.reached.set()
            await self.opened.wait()

    async def wait(self) -> None:
        await asyncio.wait_for(self.reached.wait(), 30)


@pytest.fixture
async def site(store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path) -> AsyncIterator[Site]:
    settings = await map_site(store_settings, bus_settings, tmp_path)
    async with running_site(settings, Host("h1"), Host("h2")) as site:
        yield site


class Gates(Protocol):
    def __call__(self, cls: type, method: str, purpose: str | None = None) -> Gate: ...


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gates:
    def set_up(cls: type, method: str, purpose: str | None = None) -> Gate:
        made, original = Gate(purpose), getattr(cls, method)

        async def held(*arguments: Any) -> Any:
            await made.passed(arguments)
            return await original(*arguments)

        monkeypatch.setattr(cls, method, held)
        return made

    return set_up


async def test_while_no_scheduler_answers(site: Site) -> None:
    await site.stop("scheduler")
    uuid = await site.create()
    await site.delete(uuid)
    await site.delete(uuid)
    await site.gone(uuid)
    await site.books_are_empty()


async def test_after_the_claim(site: Site, gate: Gates) -> None:
    place = gate(Builds, "_place")
    uuid = await site.create()
    await place.wait()
    assert await site.claimed() != {}
    await site.delete(uuid)
    found = await site.find(uuid)
    assert found
    assert found.instance.task_state == "deleting"
    place.opened.set()
    await site.gone(uuid)
    await site.books_are_empty()


async def test_between_cell_and_hand_over(site: Site, gate: Gates) -> None:
    """The cell has it and the top does not say so yet: the hand-over completes, then the cell deletes."""
    handing_over = gate(Builds, "_commit", "hand over")
    uuid = await site.create()
    await handing_over.wait()
    await site.delete(uuid)
    handing_over.opened.set()
    await site.gone(uuid)
    await site.books_are_empty()


async def test_while_spawning(site: Site) -> None:
    """The conductor waited for the spawn's end, ten minutes at worst, before it looked at the delete."""
    for host in site.hosts.values():
        host.delays["spawn"] = 3600
    uuid = await site.create()
    await site.until(uuid, lambda f: f.instance.task_state == "spawning")
    await asyncio.sleep(0.2)
    await site.delete(uuid)
    await site.gone(uuid, seconds=site.settings.conductor.spawn_timeout / 2)
    await site.books_are_empty()


async def test_while_a_failed_spawn_is_undone(site: Site) -> None:
    for host in site.hosts.values():
        host.faults["spawn"] = Fault(1.0, HostFull, late=True)
        host.delays["destroy"] = 1.0
    uuid = await site.create()
    store = site.top.cells.store("cell1")

    async def undoing() -> bool:
        operation = await store.get(Cell.OPERATIONS(shard_of(uuid), uuid))
        return operation is not None and operation.value.step == "undo"

    await eventually(undoing)
    await site.delete(uuid)
    await site.gone(uuid)
    await site.books_are_empty()


async def test_while_given_back(site: Site, gate: Gates) -> None:
    """`returning`: a delete there only sets cancel, which the top copies up."""
    for host in site.hosts.values():
        host.faults["spawn"] = Fault(1.0, HostFull)
    outbox = gate(Outboxes, "_take_back")
    uuid = await site.create()
    await outbox.wait()
    await site.delete(uuid)
    operation = await site.top.cells.store("cell1").get(Cell.OPERATIONS(shard_of(uuid), uuid))
    assert operation
    assert (operation.value.step, operation.value.cancel) == ("returning", True)
    outbox.opened.set()
    await site.gone(uuid)
    await site.books_are_empty()


async def test_while_its_cell_is_cleared(site: Site, gate: Gates) -> None:
    for host in site.hosts.values():
        host.faults["spawn"] = Fault(1.0, HostFull)
    clear = gate(Builds, "_clear")
    uuid = await site.create()
    await clear.wait()
    await site.delete(uuid)
    clear.opened.set()
    await site.gone(uuid)
    await site.books_are_empty()


async def test_when_no_host_is_found(site: Site, gate: Gates) -> None:
    for host in site.hosts:
        await set_host(site.top, host, disabled=True)
    bury = gate(Builds, "_bury")
    uuid = await site.create()
    await bury.wait()
    await site.delete(uuid)
    bury.opened.set()
    await site.gone(uuid)
    await site.books_are_empty()


async def test_a_cancel_in_the_cell_outlives_a_lost_race_while_the_cell_is_cleared(
    site: Site, gate: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cancel was read from the cell, the cell was cleared, and the owner died before it wrote the cancel at the
    top: the server was built although its delete had been accepted."""
    for host in site.hosts.values():
        host.faults["spawn"] = Fault(1.0, HostFull)
    clear = gate(Builds, "_clear")
    uuid = await site.create()
    await clear.wait()
    shard = shard_of(uuid)
    store = site.top.cells.store("cell1")
    returning = await store.get(Cell.OPERATIONS(shard, uuid))
    assert returning  # a delete whose transaction was decided just before the build was taken back
    await store.commit(Txn("late cancel").replace(returning, evolve(returning.value, cancel=True)))

    commit, lost = Builds._commit, []

    async def loses_once(self: Builds, shard: int, txn: Txn) -> int:
        if txn.purpose == "cleared" and not lost:
            lost.append(txn)
            raise CompareFailed("as if the owner had died here")
        return await commit(self, shard, txn)

    monkeypatch.setattr(Builds, "_commit", loses_once)
    clear.opened.set()
    await site.gone(uuid)
    assert lost
    await site.books_are_empty()


async def test_a_build_given_back_before_its_hand_over_is_taken_back_after_it(site: Site, gate: Gates) -> None:
    """The top died between the cell's write and its own; its successor saw the cell's outbox first, found that the
    mapping did not name the cell yet and threw the record away: the build was stuck for ever."""
    for host in site.hosts.values():
        host.faults["spawn"] = Fault(1.0, HostFull)
    handing_over = gate(Builds, "_commit", "hand over")
    uuid = await site.create()
    await handing_over.wait()

    async def given_back() -> bool:
        return await site.top.cells.store("cell1").count(Cell.OUTBOX.under()) == 1

    await eventually(given_back)
    await site.stop("super")
    for host in site.hosts.values():
        host.faults.pop("spawn")
    handing_over.opened.set()
    await site.start("super")
    found = await site.at_rest(uuid, "active")
    assert found.instance.attempt == 2
    await site.delete(uuid)
    await site.gone(uuid)
    await site.books_are_empty()


async def test_a_delete_during_the_hand_over_of_a_build_that_failed_at_once(site: Site, gate: Gates) -> None:
    """Taking the build back met the top's own `deleting` operation and lost to it for ever, while that one waited for
    its turn behind the outbox."""
    for host in site.hosts.values():
        host.faults["spawn"] = Fault(1.0, HostFull)
    handing_over = gate(Builds, "_commit", "hand over")
    uuid = await site.create()
    await handing_over.wait()
    await site.delete(uuid)

    async def given_back() -> bool:
        return await site.top.cells.store("cell1").count(Cell.OUTBOX.under()) == 1

    await eventually(given_back)
    handing_over.opened.set()
    await site.gone(uuid)
    await site.books_are_empty()
    assert await site.top.store.get(Global.OPERATIONS(shard_of(uuid), uuid)) is None


async def test_a_cancel_of_unknown_outcome_is_not_taken_for_done(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cancel's answer was lost while the build was handed over without it: its operation was gone, which was taken
    for a cancel that had been carried out, and a deleted server stayed ACTIVE."""
    await site.stop("scheduler")
    uuid = await site.create()
    commit = Store.commit

    async def lost(store: Store, txn: Txn) -> int:
        if txn.purpose != "cancel build":
            return await commit(store, txn)
        await site.start("scheduler")
        await site.at_rest(uuid, "active")
        raise UnknownOutcome("the connection was lost")

    monkeypatch.setattr(Store, "commit", lost)
    await site.delete(uuid)
    await site.gone(uuid)
    await site.books_are_empty()
