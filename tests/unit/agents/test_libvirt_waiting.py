"""Calls that hang, and tasks that nobody awaits."""

import asyncio
import threading

import pytest
from substrate import eventually

from agents.drivers.libvirt import waiting
from agents.drivers.libvirt.waiting import Hung, in_daemon_thread, kept_running


async def test_what_was_given_up_and_goes_on_is_waited_for() -> None:
    """A hung define finished after the undo had reported the guest as destroyed, so that it was there again."""
    hung, gate = Hung(), threading.Event()
    call = in_daemon_thread(gate.wait)
    hung.note("s1", call)
    assert not await hung.ended("s1", 0.02)
    assert await hung.ended("s2", 0.02)
    asyncio.get_running_loop().call_later(0.05, gate.set)
    assert await hung.ended("s1", 5.0)
    assert call.done()
    assert await hung.ended("s1", 0.0)


async def test_a_call_that_failed_late_has_ended_too() -> None:
    hung, gate = Hung(), threading.Event()

    def fail() -> None:
        gate.wait()
        raise OSError("late")

    hung.note("s1", in_daemon_thread(fail))
    asyncio.get_running_loop().call_later(0.02, gate.set)
    assert await hung.ended("s1", 5.0)


async def test_a_task_that_nobody_awaits_begins_again_after_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """One exception in what watches libvirt's events ended it without a word."""
    monkeypatch.setattr(waiting, "AGAIN_SECONDS", 0.001)
    begun: list[int] = []

    async def work() -> None:
        begun.append(len(begun))
        if len(begun) < 3:
            raise ZeroDivisionError
        await asyncio.Event().wait()

    task = asyncio.create_task(kept_running(work, "watch"))
    await eventually(lambda: len(begun) == 3)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
