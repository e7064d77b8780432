"""What guests do by themselves: the latest of each is told until it was taken note of, and nothing twice."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from attrs import define, field
from substrate import eventually
from unit_records import running

from agents import changes as changes_module
from agents.changes import Changes
from schemas.guest import GuestState, PowerState

OFF = running(power_state=PowerState.SHUTDOWN)


@define(eq=False)
class Lab:
    told: list[GuestState] = field(factory=list)
    deaf: bool = False
    busy: set[str] = field(factory=set)
    changes: Changes = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.changes = Changes(self._tell, lambda server: server in self.busy)

    async def _tell(self, state: GuestState) -> bool:
        self.told.append(state)
        return not self.deaf


@pytest.fixture
async def lab(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    monkeypatch.setattr(changes_module, "PAUSE_SECONDS", 0.005)
    made = Lab()
    task = asyncio.create_task(made.changes.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_each_state_is_told_once(lab: Lab) -> None:
    for state in (running(), running(), OFF, OFF):
        lab.changes.note(state)
        await eventually(lambda wanted=state: lab.told[-1:] == [wanted])
    assert lab.told == [running(), OFF]


async def test_only_the_latest_is_told_of_what_nobody_heard(lab: Lab) -> None:
    lab.deaf = True
    lab.changes.note(running())
    await eventually(lambda: len(lab.told) > 2)
    lab.changes.note(OFF)
    await eventually(lambda: lab.told[-1] == OFF)
    lab.deaf = False
    count = len(lab.told)
    await eventually(lambda: len(lab.told) > count)
    assert lab.told[count:] == [OFF]


async def test_a_guest_with_a_job_waits_and_what_its_report_said_is_not_told_again(lab: Lab) -> None:
    lab.busy.add(OFF.server)
    lab.changes.note(OFF)
    await asyncio.sleep(0.02)
    assert lab.told == []
    lab.changes.known(OFF)
    lab.busy.clear()
    lab.changes.note(running())
    await eventually(lambda: lab.told == [running()])


async def test_what_is_known_of_guests_that_are_gone_is_forgotten(lab: Lab) -> None:
    lab.changes.note(OFF)
    await eventually(lambda: lab.told == [OFF])
    lab.changes.keep({OFF.server})
    lab.changes.note(OFF)
    lab.changes.keep(set())
    lab.changes.note(OFF)
    await eventually(lambda: lab.told == [OFF, OFF])
