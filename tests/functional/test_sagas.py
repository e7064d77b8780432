"""What holds of every saga in the table, on a whole site: whichever step or undo fails nothing leaks, and a step that
is run twice gives what it gives once. And what becomes of steps that take long, hang, or are called off."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define
from substrate import eventually, map_site
from thread_site import PERSON, Host, Site, running_site
from unit_records import NOW, instance, operation, running

from agents import jobs
from agents.drivers.simulated import Fault, Verb
from control.conductor.cell import runner
from control.conductor.cell.runner import Runner
from control.conductor.sagas.all import SAGAS
from control.conductor.sagas.table import Finish, Saga, Succeeded, decide
from control.servers.find import Found
from control.servers.history import list_actions
from control.servers.reset import reset_state
from control.servers.states import RULES
from kv.keys import Cell
from schemas.context import REQUEST_ID
from schemas.errors import CompareFailed
from schemas.operation import Action
from schemas.settings import BusSettings, StoreSettings
from schemas.shards import shard_of

REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "reboot-soft": ("reboot", {"type": "SOFT"}),
    "reboot-hard": ("reboot", {"type": "HARD"}),
}
"""kind -> the action and inputs that begin it, where they are other than its name and nothing"""
CHANGES = [kind for kind in SAGAS if kind in RULES]


@pytest.fixture
async def site(store_settings: StoreSettings, bus_settings: BusSettings, tmp_path: Path) -> AsyncIterator[Site]:
    settings = await map_site(store_settings, bus_settings, tmp_path)
    async with running_site(settings, Host("h1"), Host("h2")) as site:
        yield site


def test_each_saga_is_begun_by_a_boot_a_delete_or_an_action() -> None:
    assert {*CHANGES, "boot", "delete"} == set(SAGAS)


def end_of(kind: str) -> str:
    """The vm_state that it leads to."""
    finish = decide(SAGAS[kind], operation(kind), instance(), Succeeded(running()), NOW)
    assert isinstance(finish, Finish)
    return finish.instance.vm_state


def way_to(vm_states: frozenset[str]) -> str | None:
    """The saga that leads from active to one of these; None when active is one."""
    if "active" in vm_states:
        return None
    return next(k for k in CHANGES if "active" in RULES[k].vm and end_of(k) in vm_states)


def verbs_of(saga: Saga) -> Iterator[Verb]:
    for step in filter(None, (saga.step, saga.undo)):
        yield step.verb.replace("-", "_")  # type: ignore[misc]  # the driver's name of it


def let_fail(site: Site, verbs: Iterator[Verb], **how: Any) -> None:
    for verb in verbs:
        for host in site.hosts.values():
            host.faults[verb] = Fault(1.0, message="told to fail", **how)


def mend(site: Site) -> None:
    for host in site.hosts.values():
        host.faults.clear()
        host.faults["facts"] = Fault(0.0)


async def begin(site: Site, uuid: str, kind: str) -> None:
    action, inputs = REQUESTS.get(kind, (kind, {}))
    await site.change(uuid, action, **inputs)


async def ready_for(site: Site, kind: str) -> Found:
    """A server in a state in which this saga may begin."""
    uuid = await site.create()
    found = await site.at_rest(uuid, "active")
    before = way_to(RULES[kind].vm)
    if before:
        await begin(site, uuid, before)
        found = await site.at_rest(uuid, end_of(before))
    return found


async def rests(site: Site, uuid: str) -> Found:
    return await site.until(uuid, lambda f: f.instance.task_state is None, 60)


async def last_action(site: Site, found: Found) -> Action:
    return (await list_actions(site.top, found))[0]


async def whole(site: Site, uuid: str, host: str | None) -> None:
    """One guest, one claim, one charge, nothing to do."""
    assert [h.name for h in site.hosts.values() if uuid in h.hypervisor.guests] == [host]
    assert set(await site.claimed()) == {host}
    assert (await site.used()).instances == 1
    assert await site.top.cells.store("cell1").count(Cell.OPERATIONS.under()) == 0


async def emptied(site: Site, uuid: str) -> None:
    await site.delete(uuid)
    await site.gone(uuid, seconds=60)
    await site.books_are_empty()


@pytest.mark.parametrize("late", [False, True], ids=["before it did anything", "after it took effect"])
async def test_whichever_step_fails_nothing_leaks(site: Site, late: bool) -> None:
    for kind in CHANGES:
        before = await ready_for(site, kind)
        let_fail(site, verbs_of(SAGAS[kind]), late=late)
        uuid = before.instance.uuid
        await begin(site, uuid, kind)
        after = await rests(site, uuid)
        assert after.instance.fault, kind
        assert after.instance.fault.message == "told to fail", kind
        action = await last_action(site, after)
        assert (action.message, action.events[0].result) == ("Error", "Error"), kind
        assert action.story, kind
        mend(site)
        await whole(site, uuid, before.instance.host)
        await emptied(site, uuid)


@pytest.mark.parametrize("late", [False, True], ids=["before it did anything", "after it took effect"])
async def test_a_boot_whose_step_and_undo_fail_stays_where_its_guest_may_be(
    site: Site, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """It was given back and built on another host, though the first one still had the guest, and ran it."""
    impatient(monkeypatch, "command_timeout", 1.0)
    let_fail(site, verbs_of(SAGAS["boot"]), late=late)
    uuid = await site.create()
    found = await site.at_rest(uuid, "error", 60)
    assert found.mapping.attempt == 1
    assert found.instance.host
    assert found.instance.fault
    assert f"could not be taken back on {found.instance.host}" in found.instance.fault.details
    mend(site)
    await emptied(site, uuid)


@pytest.mark.parametrize("late", [False, True], ids=["before it did anything", "after it took effect"])
async def test_a_delete_that_its_host_refuses_is_asked_for_until_it_is_done(site: Site, late: bool) -> None:
    uuid = await site.create()
    host = (await site.at_rest(uuid, "active")).instance.host
    assert host
    let_fail(site, verbs_of(SAGAS["delete"]), late=late)
    await site.delete(uuid)
    if not late:
        assert uuid in site.hosts[host].hypervisor.guests
    mend(site)
    await site.gone(uuid, seconds=60)
    await site.books_are_empty()


async def test_a_delete_that_its_host_refuses_for_good_ends_and_the_inventory_removes_the_guest(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    uuid = await site.create()
    host = (await site.at_rest(uuid, "active")).instance.host
    assert host
    impatient(monkeypatch, "command_timeout", 1.0)
    guests = site.hosts[host].hypervisor.guests
    let_fail(site, verbs_of(SAGAS["delete"]))
    await site.delete(uuid)

    async def forgotten() -> bool:
        return await site.find(uuid) is None

    await eventually(forgotten, 60)
    assert uuid in guests
    mend(site)
    await eventually(lambda: uuid not in guests, 60)
    await site.books_are_empty()


@define
class Twice:
    """Loses the commit of each step the first time, as an owner does who was taken over, and the agent its memory."""

    site: Site
    seen: set[tuple[str, str]]

    async def commit(self, real: Any, this: Runner, *args: Any) -> Any:
        _, saga, stored, _, _ = args
        at = (saga.kind, stored.value.step)
        if at not in self.seen:
            self.seen.add(at)
            await self.site.stop(stored.value.host)
            await self.site.start(stored.value.host)
            raise CompareFailed("as if another had taken over")
        return await real(this, *args)


async def test_a_step_run_twice_gives_what_it_gives_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    twice, real = Twice(site, set()), Runner._commit
    monkeypatch.setattr(Runner, "_commit", lambda this, *args: twice.commit(real, this, *args))
    for kind in CHANGES:
        before = await ready_for(site, kind)
        uuid = before.instance.uuid
        await begin(site, uuid, kind)
        after = await site.at_rest(uuid, end_of(kind), 60)
        assert after.instance.fault is None, kind
        assert (await last_action(site, after)).events[0].result == "Success", kind
        await whole(site, uuid, before.instance.host)
        await emptied(site, uuid)
    assert {kind for kind, _ in twice.seen} == set(SAGAS)


async def test_an_undo_run_twice_gives_what_it_gives_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    twice, real = Twice(site, {("boot", "spawn")}), Runner._commit
    monkeypatch.setattr(Runner, "_commit", lambda this, *args: twice.commit(real, this, *args))
    let_fail(site, iter(["spawn"]), late=True)
    uuid = await site.create()
    await eventually(lambda: ("boot", "undo") in twice.seen, 60)
    mend(site)
    found = await site.at_rest(uuid, "active", 60)
    await whole(site, uuid, found.instance.host)
    await emptied(site, uuid)


# Time


async def test_a_step_that_comes_further_has_its_time_anew(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "PROGRESS_SECONDS", 0.2)
    impatient(monkeypatch, "spawn_timeout", 1.5)
    for host in site.hosts.values():
        host.delays["spawn"] = 5.0
        host.progress = 0.3
    uuid = await site.create()
    found = await site.at_rest(uuid, "active", 60)
    assert found.instance.attempt == 1
    story = [line.text for line in (await last_action(site, found)).story]
    assert any("goes on, until" in line for line in story), story
    await emptied(site, uuid)


async def test_an_overrun_step_is_tried_once_more_and_then_unwound(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "RETRY_SECONDS", 0.05)
    impatient(monkeypatch, "spawn_timeout", 1.0)
    for host in site.hosts.values():
        host.delays["spawn"] = 60.0
    uuid = await site.create()
    found = await site.at_rest(uuid, "error", 60)
    assert found.cell == "cell0"
    assert found.instance.fault
    assert "did not finish spawn in time" in found.instance.fault.details
    story = " ".join(line.text for line in (await last_action(site, found)).story)
    assert story.count("did not finish spawn in time: once more") == 2
    assert story.count("given back") == 2
    assert all(uuid not in h.hypervisor.guests for h in site.hosts.values())
    assert await site.claimed() == {}
    await emptied(site, uuid)


async def test_a_hanging_command_is_tried_once_more_and_then_leaves_a_fault(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    uuid = await site.create()
    host = site.hosts[str((await site.at_rest(uuid, "active")).instance.host)]
    monkeypatch.setattr(runner, "RETRY_SECONDS", 0.05)
    impatient(monkeypatch, "command_timeout", 0.5)
    host.delays["power_off"] = host.delays["reboot"] = 60.0
    await site.change(uuid, "reboot", type="HARD")
    found = await rests(site, uuid)
    assert found.instance.fault
    assert "did not finish reboot in time" in found.instance.fault.message
    story = [line.text for line in (await last_action(site, found)).story]
    assert sum("once more" in line for line in story) == 1
    host.delays.clear()
    await emptied(site, uuid)


def impatient(monkeypatch: pytest.MonkeyPatch, setting: str, seconds: float) -> None:
    """The runner's patience for a step; the API's and the top's stay what they are."""
    real = Runner._carry_out

    async def carry_out(self: Runner, *args: Any) -> Any:
        object.__setattr__(self._settings, setting, seconds)
        return await real(self, *args)

    monkeypatch.setattr(Runner, "_carry_out", carry_out)


# Called off


async def test_a_reset_of_the_state_calls_off_what_is_under_way(site: Site) -> None:
    uuid = await site.create()
    host = site.hosts[str((await site.at_rest(uuid, "active")).instance.host)]
    host.delays["reboot"] = 60.0
    await site.change(uuid, "reboot", type="HARD")
    cell, key = site.top.cells.store("cell1"), Cell.OPERATIONS(shard_of(uuid), uuid)
    assert await cell.get(key)
    REQUEST_ID.set("req-reset")
    await reset_state(site.top, PERSON, uuid, "active")
    found = await rests(site, uuid)
    assert found.instance.vm_state == "active"
    assert await cell.get(key) is None
    actions = {a.action: a for a in await list_actions(site.top, found)}
    assert actions["reboot"].message == "Error"
    assert actions["resetState"].message is None
    host.delays.clear()
    await reset_state(site.top, PERSON, uuid, "error")
    found = await site.at_rest(uuid, "error")
    assert found.instance.fault
    await reset_state(site.top, PERSON, uuid, "active")
    await site.change(uuid, "stop")
    await site.at_rest(uuid, "stopped")
    await emptied(site, uuid)
