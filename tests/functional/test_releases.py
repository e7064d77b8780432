"""A site that is upgraded one process after the other: all write what the oldest reads."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from attrs import evolve
from substrate import eventually

from control import releases
from control.conductor.cell.hosts import BINARY
from control.manage.upgrade import report
from control.releases import CONDUCTOR, TOP, Attendance, attend_cell, attend_top, check_release, oldest
from control.top import Top
from kv.keys import Cell, Global
from kv.store import Store
from kv.txn import Txn
from runtime import ambient
from schemas.codec import RELEASE
from schemas.errors import ReleaseRefused
from schemas.host import Service
from schemas.server import UserData


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(releases, "LEASE_SECONDS", 1)


@asynccontextmanager
async def attending(attendance: Attendance) -> AsyncIterator[None]:
    task = asyncio.create_task(attendance.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def process(store: Store, pod: str, release: int, heard: list[int]) -> Attendance:
    async def found(lowest: int) -> None:
        heard.append(lowest)

    key = Global.SERVICES(CONDUCTOR, pod)
    return Attendance(store, key, lambda: oldest(store, Global.SERVICES), found, release)


async def test_all_speak_as_the_oldest_until_it_leaves(store: Store) -> None:
    old: list[int] = []
    new: list[int] = []
    async with attending(process(store, "new", 8, new)):
        async with attending(process(store, "old", 7, old)):
            await eventually(lambda: old and new and new[-1] == 7, 30)
            assert set(old) == {7}
        await eventually(lambda: new[-1] == 8, 30)
        with pytest.raises(ReleaseRefused, match=r"knows release 7 .* oldest that runs knows 8"):
            await process(store, "late", 7, old).run()
        with pytest.raises(ReleaseRefused):
            await process(store, "hasty", 10, old).run()
    assert await oldest(store, Global.SERVICES) is None


@pytest.mark.parametrize(
    ("mine", "others", "runs"), [(3, None, True), (3, 3, True), (3, 2, True), (3, 1, False), (3, 4, False)]
)
def test_one_release_apart_is_near_enough(mine: int, others: int | None, runs: bool) -> None:
    if runs:
        check_release(mine, others)
    else:
        with pytest.raises(ReleaseRefused, match="kilonova status upgrade check"):
            check_release(mine, others)


async def test_the_top_tells_its_cells_and_both_wait_for_each_other(top: Top) -> None:
    cell = top.cells.access("cell1")
    await eventually(lambda: cell.bus is not None)
    assert cell.bus is not None
    mine, bus = Store(cell.store.etcd, cell.store.prefix), cell.bus
    now = ambient.now()
    old = Service("elsewhere", "nova-scheduler", "uuid", "", "", RELEASE - 1, now, now)
    key = Global.SERVICES("nova-scheduler", "old")
    await top.store.commit(Txn("old scheduler").put(key, old))
    async with attending(attend_top(top, CONDUCTOR, "super", tells_cells=True)):
        async with attending(attend_cell(mine, bus, "pod")):
            assert (top.store.release, top.bus.release, mine.release) == (RELEASE - 1,) * 3
            told = Cell.SERVICES(TOP, TOP)

            async def told_of(release: int) -> bool:
                stored = await mine.get(told)
                return stored is not None and stored.value.version == release

            await eventually(lambda: told_of(RELEASE - 1), 30)
            assert mine.release == RELEASE - 1
            await top.store.commit(Txn("upgraded").delete(key))
            await eventually(lambda: top.store.release == mine.release == cell.store.release == RELEASE, 30)
        await mine.commit(Txn("old conductor").put(Cell.SERVICES(CONDUCTOR, "o"), evolve(old, binary=CONDUCTOR)))
        await eventually(lambda: (top.store.release, cell.store.release) == (RELEASE, RELEASE - 1), 30)


async def test_the_upgrade_check_shows_every_process_and_what_is_written_too_old(top: Top) -> None:
    now = ambient.now()
    cell = top.cells.store("cell1")
    agent = Service("h1", BINARY, "uuid", "id", "session", RELEASE, now, now)
    await cell.commit(Txn("agent").put(Cell.SERVICES(BINARY, "h1"), agent))
    async with attending(attend_top(top, "nova-scheduler", "pod-1")):
        await eventually(lambda: top.store.count(Global.SERVICES.under()), 30)
        lines, code = await report(top)
        assert code == 0
        assert any("nova-scheduler" in x and "top" in x and f"release {RELEASE}" in x for x in lines)
        assert any("nova-compute" in x and "h1" in x and "cell1" in x for x in lines)
        assert lines[-1] == f"all run release {RELEASE}"
    await cell.commit(Txn("agent").put(Cell.SERVICES(BINARY, "h1"), evolve(agent, version=RELEASE - 1)))
    lines, code = await report(top)
    assert code == 1
    assert "1 of 1" in lines[-1]
    await cell.commit(Txn("agent").put(Cell.SERVICES(BINARY, "h1"), evolve(agent, version=RELEASE - 2)))
    lines, code = await report(top)
    assert code == 2
    assert "h1" in lines[-1]


async def test_a_store_writes_what_its_oldest_reader_knows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """That conversion itself is right is the codec's test; this is that the store asks for it."""
    asked: list[int] = []

    def spied(data: bytes, release: int) -> bytes:
        asked.append(release)
        return data

    monkeypatch.setattr("kv.store.for_release", spied)
    store.release = RELEASE - 1
    await store.commit(Txn("x").put(Cell.USER_DATA("u"), UserData("x")))
    assert asked == [RELEASE - 1]
