"""A project's charge: under limits that are in force when it is committed, in transactions that etcd takes, for each
request by itself where one of them cannot be done, and settled when nobody said whether it was done."""

import asyncio
from typing import Any

import pytest
from attrs import evolve
from substrate import eventually
from top_rig import TINY, USER, Rig, before_commit, open_rig

from control.servers.create import MAX_DOORS, _door, _doors, create_servers
from control.servers.draft import ServerDraft
from control.servers.quota import read_limits
from control.top import Top
from kv.keys import Global, Key
from kv.txn import Txn
from runtime import ambient
from schemas.context import REQUEST_ID
from schemas.errors import QuotaExceeded, Unavailable, UnwritableRecord
from schemas.quota import QuotaLimits

DRAFT = ServerDraft("web", TINY, None, networks="none")
LIMITS: Key[QuotaLimits] = Global.QUOTA_LIMITS(USER.project)


async def create(top: Top, draft: ServerDraft = DRAFT, **more: Any) -> int:
    REQUEST_ID.set(f"req-{ambient.new_uuid()}")
    return len((await create_servers(top, USER, draft, **more))[1])


async def charged(top: Top) -> int:
    usage = await top.store.get(Global.QUOTA_USAGE(USER.project))
    return usage.value.instances if usage else 0


async def make_groups(rig: Rig, count: int) -> list[str]:
    return [await rig.create_group(f"g{n}") for n in range(count)]


async def together(top: Top, drafts: list[ServerDraft]) -> list[int | BaseException]:
    """What became of creations that gather behind one that is under way."""
    first = asyncio.create_task(create(top))
    await asyncio.sleep(0)
    found = await asyncio.gather(*(create(top, draft) for draft in drafts), return_exceptions=True)
    await first
    return found


async def test_creations_in_groups_of_their_own_that_wait_together_are_all_accepted() -> None:
    """Twenty at a time are 120 writes and the usage; their groups are twenty more than were counted, etcd takes 128,
    and all twenty clients got 413."""
    async with open_rig() as rig:
        groups = await make_groups(rig, 20)
        assert await together(rig.top, [evolve(DRAFT, group=group) for group in groups]) == [1] * 20
        for group in groups:
            stored = await rig.top.store.get(Global.GROUPS(group))
            assert stored is not None
            assert len(stored.value.members) == 1
        assert await charged(rig.top) == 21


async def test_creations_whose_records_are_large_do_not_fill_one_transaction_together() -> None:
    """Only user data was counted; metadata, image properties and hints are stored with each server too."""
    async with open_rig() as rig:
        large = evolve(DRAFT, metadata={f"k{n}": "v" * 4096 for n in range(100)})
        assert await together(rig.top, [large] * 6) == [1] * 6
        assert await together(rig.top, [evolve(large, min_count=4, max_count=4)]) == [4]
        written = [s.value.kind for s in await rig.top.store.range(Global.OPERATIONS.under())]
        assert (written.count("build"), written.count("multi-create")) == (2 + 6 + 1, 1)


async def test_a_record_that_cannot_be_written_refuses_its_own_request_alone() -> None:
    """One creation that could not be encoded took those of its batch with it."""

    async with open_rig() as rig:
        bad = evolve(DRAFT, scheduler_hints={"query": object()})
        found = await together(rig.top, [DRAFT, bad, DRAFT])
        assert [found[0], found[2]] == [1, 1]
        assert isinstance(found[1], UnwritableRecord)
        assert await charged(rig.top) == 3


async def test_a_batch_that_is_refused_for_any_reason_is_tried_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_rig() as rig:
        waited = together(rig.top, [DRAFT, DRAFT])

        async def refuse() -> None:
            before_commit(monkeypatch, "accept server", fail)

        async def fail() -> None:
            raise RuntimeError("refused, whatever for")

        before_commit(monkeypatch, "accept server", refuse)
        assert await waited == [1, 1]


async def test_limits_that_were_set_before_the_charge_hold() -> None:
    """A limit of 2 was set and answered after a create had read the limits and before it was charged: it was charged
    for 8 servers."""
    async with open_rig() as rig:
        before = await read_limits(rig.top.store, USER.project, USER.user)
        await rig.top.store.commit(Txn("set").put(LIMITS, QuotaLimits({"instances": 2})))
        with pytest.raises(QuotaExceeded):
            await create(rig.top, evolve(DRAFT, min_count=8, max_count=8), limits=before)
        assert await create(rig.top, evolve(DRAFT, max_count=8), limits=before) == 2
        assert await charged(rig.top) == 2


@pytest.mark.parametrize(
    "key",
    [LIMITS, Global.USER_QUOTA_LIMITS(USER.project, USER.user), Global.QUOTA_CLASSES("default")],
    ids=["project", "user", "class"],
)
async def test_limits_that_are_set_while_a_charge_is_under_way_hold(
    key: Key[QuotaLimits], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every record that limits come from is compared, those that were not there too."""
    async with open_rig() as rig:
        if key is not LIMITS:
            await rig.top.store.commit(Txn("reset").delete(LIMITS))
        await create(rig.top)
        before_commit(
            monkeypatch,
            "accept server",
            lambda: rig.top.store.commit(Txn("set").put(key, QuotaLimits({"instances": 1}))),
        )
        with pytest.raises(QuotaExceeded):
            await create(rig.top)
        assert await charged(rig.top) == 1


async def test_a_limit_on_groups_that_is_set_meanwhile_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_rig() as rig:
        none = QuotaLimits({"server_groups": 0})
        before_commit(monkeypatch, "create group", lambda: rig.top.store.commit(Txn("set").put(LIMITS, none)))
        with pytest.raises(QuotaExceeded):
            await make_groups(rig, 1)


async def test_queues_of_projects_that_nobody_uses_are_let_go() -> None:
    """Each project that ever made a server kept a queue in each API process."""
    async with open_rig() as rig:
        for n in range(MAX_DOORS + 10):
            _door(rig.top, f"p{n}")
        assert len(_doors[rig.top]) == MAX_DOORS
        assert "p0" not in _doors[rig.top]


async def test_who_waits_in_a_queue_that_ends_is_answered() -> None:
    async with open_rig() as rig:
        started = asyncio.create_task(create(rig.top))
        await asyncio.sleep(0)
        door = _door(rig.top, USER.project)
        await eventually(lambda: door._task is not None)
        assert door._task is not None
        door._task.cancel()
        with pytest.raises(Unavailable, match="ask again"):
            await asyncio.wait_for(started, 5)
