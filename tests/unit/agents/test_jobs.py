"""Commands become driver calls, one at a time a server, each reported until its owner answers."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from attrs import define, evolve, field
from substrate import eventually
from unit_records import UUID, guest, mark

from agents import jobs as jobs_module
from agents.drivers.simulated import Delays, Fault, SimulatedDriver, Verb
from agents.grant import Grant
from agents.jobs import Jobs
from schemas.errors import HostFull
from schemas.guest import GuestState, PowerState
from schemas.messages import Command, CommandReply, Progress, Report

OTHER = "00000000-0000-4000-8000-000000000002"


@define(eq=False)
class Lab:
    """A host whose owner answers as `answers` says; None is silence."""

    answers: Callable[[Report], bool | None] = lambda _: True
    delays: dict[Verb, float] = field(factory=dict)
    faults: dict[Verb, Fault] = field(factory=lambda: {"facts": Fault(0.0)})
    said: list[Report] = field(factory=list)
    told: list[Progress] = field(factory=list)
    results: list[GuestState] = field(factory=list)
    calls: list[str] = field(factory=list)
    """of the driver: begun and ended"""
    grant: Grant = field(factory=Grant)
    driver: SimulatedDriver = field(init=False)
    jobs: Jobs = field(init=False)

    def __attrs_post_init__(self) -> None:
        lab = self

        class Logged(SimulatedDriver):
            async def _work(self, verb: Verb) -> None:
                lab.calls.append(f"begin {verb}")
                try:
                    await super()._work(verb)
                finally:
                    lab.calls.append(f"end {verb}")

        self.driver = Logged("h1", delays=Delays(self.delays), faults=self.faults)
        self.jobs = Jobs(self.driver, "s1", self._send, self.results.append, self._tell, self.grant)
        self.grant.until = float("inf")
        self.jobs.phase = "serving"

    async def _tell(self, told: Progress) -> None:
        self.told.append(told)

    async def _send(self, _: str, report: Report) -> bool | None:
        self.said.append(report)
        await asyncio.sleep(0)
        return self.answers(report)

    def command(self, verb: Any = "spawn", generation: int = 1, op: str = "boot/req-1/1", **more: Any) -> CommandReply:
        server = more.pop("server", UUID)
        spec = guest(server, generation, op) if verb == "spawn" else None
        said = Command(verb, "s1", mark(server, generation, op), more.pop("step", verb), spec=spec)
        return self.jobs.command(evolve(said, **more))

    async def reports(self, count: int) -> list[Report]:
        await eventually(lambda: len(self.said) >= count)
        await asyncio.sleep(0.05)
        assert len(self.said) == count
        return self.said


@pytest.fixture
async def lab(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    monkeypatch.setattr(jobs_module, "REPEAT_SECONDS", (0.005, 0.02))
    made = Lab()
    yield made
    await made.jobs.close()


async def test_a_job_is_done_and_reported(lab: Lab) -> None:
    assert lab.command() == CommandReply()
    assert lab.jobs.running == {UUID}
    (report,) = await lab.reports(1)
    assert (report.mark, report.step, report.attempt, report.error) == (mark(), "spawn", 1, None)
    assert report.state
    assert report.state.power_state == PowerState.RUNNING
    assert lab.jobs.running == frozenset()
    assert lab.results == [report.state]


async def test_each_verb_is_a_call_of_the_driver(lab: Lab) -> None:
    steps = (
        ("spawn", PowerState.RUNNING),
        ("power-off", PowerState.SHUTDOWN),
        ("power-on", PowerState.RUNNING),
        ("reboot", PowerState.RUNNING),
        ("pause", PowerState.PAUSED),
        ("unpause", PowerState.RUNNING),
        ("suspend", PowerState.SHUTDOWN),
        ("resume", PowerState.RUNNING),
        ("destroy", None),
    )
    for n, (verb, expected) in enumerate(steps):
        lab.command(verb, n + 1, f"{verb}/req/1")
        report = (await lab.reports(n + 1))[-1]
        assert report.error is None
        assert (report.state and report.state.power_state) == expected
    assert lab.driver.hypervisor.guests == {}


async def test_a_failure_is_reported_by_its_class(lab: Lab) -> None:
    lab.faults["spawn"] = Fault(1.0, HostFull, "no space left on device")
    lab.command()
    (report,) = await lab.reports(1)
    assert (report.error, report.message, report.state) == ("HostFull", "no space left on device", None)
    assert lab.results == []


async def test_an_unforeseen_failure_is_a_host_error(lab: Lab) -> None:
    lab.faults["spawn"] = Fault(1.0, ZeroDivisionError, "oh")
    lab.command()
    (report,) = await lab.reports(1)
    assert (report.error, report.message) == ("HostError", "ZeroDivisionError: oh")


async def test_a_spawn_without_a_guest_is_an_error(lab: Lab) -> None:
    lab.command(spec=None)
    assert (await lab.reports(1))[0].message == "a spawn command without a guest"


async def test_a_report_is_repeated_until_it_is_answered(lab: Lab) -> None:
    lab.answers = lambda _: None if len(lab.said) < 4 else True
    lab.command()
    reports = await lab.reports(4)
    assert len(set(map(repr, reports))) == 1
    assert not lab.jobs.is_busy(UUID)


async def test_a_report_that_was_decided_otherwise_ends_and_is_no_result(lab: Lab) -> None:
    lab.answers = lambda _: False
    lab.command()
    await lab.reports(1)
    assert lab.results == []


async def test_a_repeated_command_is_adopted_and_runs_once(lab: Lab) -> None:
    lab.delays["spawn"] = 0.1
    for _ in range(5):
        assert lab.command() == CommandReply()
        await asyncio.sleep(0.01)
    await lab.reports(1)
    assert lab.calls == ["begin spawn", "end spawn"]


async def test_an_adopting_command_raises_the_generation_of_the_report(lab: Lab) -> None:
    lab.delays["spawn"] = 0.1
    lab.command(generation=1)
    await asyncio.sleep(0.02)
    lab.command(generation=2)
    (report,) = await lab.reports(1)
    assert report.mark.generation == 2
    assert lab.calls == ["begin spawn", "end spawn"]


async def test_a_job_that_has_ended_is_told_again_to_who_asks_again(lab: Lab) -> None:
    lab.command(generation=1)
    await lab.reports(1)
    lab.command(generation=2)
    first, second = await lab.reports(2)
    assert (first.mark.generation, second.mark.generation) == (1, 2)
    assert lab.calls == ["begin spawn", "end spawn"]


async def test_while_a_report_waits_for_its_answer_it_is_said_to_the_next_owner(lab: Lab) -> None:
    gate = asyncio.Event()

    async def send(_: str, report: Report) -> bool | None:
        lab.said.append(report)
        if report.mark.generation == 1:
            await gate.wait()
        return True

    lab.jobs._send = send
    lab.command(generation=1)
    await eventually(lambda: len(lab.said) == 1)
    lab.command(generation=2)
    await eventually(lambda: [r.mark.generation for r in lab.said] == [1, 2])


async def test_a_newer_job_cancels_and_awaits_the_older(lab: Lab) -> None:
    lab.delays["spawn"] = 60
    lab.command("spawn", 1)
    await eventually(lambda: lab.calls == ["begin spawn"])
    lab.command("destroy", 2, "delete/req-2/1")
    (report,) = await lab.reports(1)
    assert report.mark.operation == "delete/req-2/1"
    assert lab.calls == ["begin spawn", "end spawn", "begin destroy", "end destroy"]
    assert lab.driver.hypervisor.guests == {}


async def test_however_many_come_one_job_of_a_server_runs_at_a_time(lab: Lab) -> None:
    """Each further command cancelled the job anew, in the middle of its cleaning up."""
    inside = 0
    most = 0

    async def slow_to_end(spec: object) -> GuestState:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)  # a clean-up that a second cancellation would cut short
            inside -= 1
        raise AssertionError("cancelled before")

    lab.driver.spawn = slow_to_end  # type: ignore[method-assign,assignment]
    for generation in range(1, 6):
        lab.command("spawn", generation, f"boot/req/{generation}")
        await asyncio.sleep(0.01)
    lab.command("destroy", 9, "delete/req/1")
    (report,) = await lab.reports(1)
    assert report.mark.generation == 9
    assert (most, inside) == (1, 0)


async def test_servers_do_not_wait_for_each_other(lab: Lab) -> None:
    lab.delays["spawn"] = 60
    lab.command("spawn")
    lab.command("destroy", server=OTHER)
    (report,) = await lab.reports(1)
    assert report.mark.server == OTHER
    assert lab.jobs.running == {UUID}


async def test_refusals_change_nothing(lab: Lab) -> None:
    lab.command(generation=5)
    await lab.reports(1)
    assert lab.command(generation=4) == CommandReply("generation 4 is older than 5", True, 5)
    assert lab.command(generation=6, session="s0").refusal == "the command is for session s0, this is s1"
    lab.jobs.phase = "registering"
    assert lab.command(generation=7).refusal == "not ready: strays are being removed"
    assert lab.calls == ["begin spawn", "end spawn"]


async def test_a_deleted_servers_generation_is_remembered(lab: Lab) -> None:
    lab.command("destroy", 7, "delete/req-2/1")
    await lab.reports(1)
    assert lab.command("spawn", 6).stale
    assert UUID not in lab.driver.hypervisor.guests


async def test_what_ended_long_ago_is_forgotten(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "REMEMBERED_SECONDS", 0.0)
    lab.command("destroy", 7)
    await lab.reports(1)
    await asyncio.sleep(0.01)
    lab.command("destroy", 1, server=OTHER)
    assert lab.command("spawn", 6) == CommandReply()


async def test_of_an_ended_job_no_guest_is_kept(lab: Lab) -> None:
    """An hour of ended commands with user data, password and the contexts of their requests: 3.8 KiB a server."""
    command = Command("spawn", "s1", mark(UUID, 1), "spawn", spec=guest(UUID, 1))
    spec = weakref.ref(command.spec)
    lab.jobs.command(command)
    del command
    await lab.reports(1)
    await lab.driver.destroy(UUID)  # what the simulated hypervisor keeps of it
    gc.collect()
    assert spec() is None
    assert lab.command().refusal is None  # adopted: the job is remembered
    assert (await lab.reports(2))[1] == lab.said[0]


async def test_closing_ends_jobs_and_reports(lab: Lab) -> None:
    lab.answers = lambda _: None
    lab.command()
    await eventually(lambda: len(lab.said) > 2)
    lab.delays["spawn"] = 60
    lab.command(server=OTHER)
    await asyncio.wait_for(lab.jobs.close(), 30)
    said = len(lab.said)
    await asyncio.sleep(0.05)
    assert len(lab.said) == said


async def test_progress_is_told_now_and_then(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "PROGRESS_SECONDS", 0.1)
    lab.delays["spawn"] = 0.35
    lab.driver._delays = Delays(lab.delays, progress=lambda: 0.01)
    lab.command(generation=3)
    (report,) = await lab.reports(1)
    assert 2 <= len(lab.told) <= 5
    assert {(t.mark, t.step, t.attempt) for t in lab.told} == {(report.mark, report.step, report.attempt)}
    assert all("left" in t.note for t in lab.told)


# Without a grant


def power(lab: Lab) -> int | None:
    guest = lab.driver.hypervisor.guests.get(UUID)
    return guest.state.power_state if guest else None


async def expire(lab: Lab) -> None:
    lab.grant.until = 0.0
    lab.jobs.lapse()
    await asyncio.sleep(0.02)


def renew(lab: Lab) -> None:
    lab.grant.extend(asyncio.get_running_loop().time(), 60.0)


async def test_nothing_starts_without_a_grant_and_goes_on_with_one(lab: Lab) -> None:
    """A host that was cut off started guests for as long as nobody heard it, beside those that were built for them on
    other hosts."""
    lab.grant.until = 0.0
    lab.command()
    await asyncio.sleep(0.05)
    assert (power(lab), lab.said) == (None, [])
    renew(lab)
    await lab.reports(1)
    assert power(lab) == PowerState.RUNNING
    lab.command("power-off", 2, "stop/req/1")
    await lab.reports(2)
    lab.grant.until = 0.0
    lab.command("power-on", 3, "start/req/1")
    await asyncio.sleep(0.05)
    assert (power(lab), len(lab.said)) == (PowerState.SHUTDOWN, 2)
    renew(lab)
    await lab.reports(3)
    assert power(lab) == PowerState.RUNNING


async def test_a_guest_that_was_not_acknowledged_stops_with_the_grant_and_runs_again_with_the_next(lab: Lab) -> None:
    lab.answers = lambda _: None
    lab.command()
    await eventually(lambda: lab.said)
    await expire(lab)
    assert power(lab) == PowerState.SHUTDOWN
    assert lab.jobs.is_busy(UUID)
    assert [job.server for job in lab.jobs.at_work()] == [UUID]
    before = len(lab.said)
    await asyncio.sleep(0.05)
    assert len(lab.said) == before  # what is not so is not said
    lab.answers = lambda _: True
    renew(lab)
    await eventually(lambda: power(lab) == PowerState.RUNNING and not lab.jobs.is_busy(UUID))
    assert lab.said[-1].error is None


async def test_a_guest_that_was_acknowledged_runs_on_without_a_grant(lab: Lab) -> None:
    lab.command()
    await lab.reports(1)
    await expire(lab)
    assert power(lab) == PowerState.RUNNING


async def test_a_guest_whose_spawn_was_decided_otherwise_stops_with_the_grant(lab: Lab) -> None:
    lab.answers = lambda _: False
    lab.command()
    await lab.reports(1)
    await expire(lab)
    assert power(lab) == PowerState.SHUTDOWN


async def test_a_spawn_that_failed_after_the_guest_ran_leaves_none_running_without_a_grant(lab: Lab) -> None:
    lab.faults["spawn"] = Fault(1.0, late=True)
    lab.command()
    await lab.reports(1)
    assert power(lab) == PowerState.RUNNING
    await expire(lab)
    assert power(lab) == PowerState.SHUTDOWN


async def test_a_later_command_says_that_the_spawn_was_acknowledged(lab: Lab) -> None:
    lab.answers = lambda report: None if report.step == "spawn" else True
    lab.command()
    await eventually(lambda: lab.said)
    lab.command("reboot", 2, "reboot/req/1")
    await eventually(lambda: lab.said[-1].step == "reboot")
    await expire(lab)
    assert power(lab) == PowerState.RUNNING


async def test_a_guest_that_cannot_be_stopped_is_tried_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "STOP_AGAIN_SECONDS", 0.01)
    lab.answers = lambda _: None
    lab.command()
    await eventually(lambda: lab.said)
    lab.driver.hypervisor.down = True
    await expire(lab)
    assert power(lab) == PowerState.RUNNING
    lab.driver.hypervisor.down = False
    await eventually(lambda: power(lab) == PowerState.SHUTDOWN)


# Strays


async def test_a_stray_is_destroyed_as_a_job_that_a_command_waits_for(lab: Lab) -> None:
    """It was destroyed past the jobs: a spawn of the same server ran beside it."""
    lab.command()
    await lab.reports(1)
    lab.delays["destroy"] = 0.1
    seen = asyncio.get_running_loop().time()
    removing = asyncio.create_task(lab.jobs.remove(mark(), seen))
    await eventually(lambda: "begin destroy" in lab.calls)
    lab.command("spawn", 9, "boot/req-9/2")
    await removing
    await lab.reports(2)
    assert lab.calls == ["begin spawn", "end spawn", "begin destroy", "end destroy", "begin spawn", "end spawn"]
    assert power(lab) == PowerState.RUNNING


async def test_a_stray_job_ends(lab: Lab) -> None:
    lab.delays["spawn"] = 60
    lab.command()
    await asyncio.sleep(0.02)
    await lab.jobs.remove(mark(), asyncio.get_running_loop().time())
    assert (power(lab), lab.jobs.at_work(), lab.said) == (None, (), [])
    assert lab.command(generation=1, op="boot/other/1") == CommandReply()


async def test_what_was_commanded_since_the_guests_were_listed_is_no_stray(lab: Lab) -> None:
    seen = asyncio.get_running_loop().time()
    await asyncio.sleep(0.01)
    lab.command()
    await lab.reports(1)
    await lab.jobs.remove(mark(), seen)
    assert power(lab) == PowerState.RUNNING
