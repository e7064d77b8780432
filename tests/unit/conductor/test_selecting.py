"""Builds that ask for a host together are answered each for itself, and pause when nothing was decided."""

import asyncio
from typing import Any, cast

import pytest
from unit_records import operation, spec

from bus.client import Bus
from control.conductor.top.selecting import MAX_PATIENCE, Selecting
from schemas.errors import BusUnavailable, CompareFailed, UnwritableRecord
from schemas.messages import Select, Selected, Selection, SelectItem


class Scheduler:
    """Refuses everybody, loses the claim of servers named `lost`, and chokes on a question that names `bad`."""

    def __init__(self) -> None:
        self.questions: list[list[str]] = []
        self.away = False

    async def request(self, _: str, select: Select, *__: Any) -> Selected:
        servers = [item.operation.server for item in select.items]
        self.questions.append(servers)
        if self.away:
            raise BusUnavailable("no answer")
        if "bad" in servers:
            raise UnwritableRecord("a Select cannot be encoded: Recursion limit reached")
        return Selected(tuple(Selection(s, refusal="full") for s in servers if s != "lost"))


def asked(server: str) -> SelectItem:
    return SelectItem(operation("build", server=server), 1, spec())


async def test_a_request_that_cannot_be_sent_takes_no_other_with_it() -> None:
    """Scheduler hints that were nested too deeply failed the question of all builds that were asked for with them."""
    scheduler = Scheduler()
    selecting = Selecting(cast(Bus, scheduler))
    found = await asyncio.gather(*(selecting.host_for(asked(s)) for s in ("a", "bad", "b")), return_exceptions=True)
    assert [type(one).__name__ for one in found] == ["Selection", "UnwritableRecord", "Selection"]


async def test_a_claim_that_was_lost_is_not_asked_for_again_at_once() -> None:
    """It counted as a step done, so the owner asked again and again without any pause."""
    with pytest.raises(CompareFailed):
        await Selecting(cast(Bus, Scheduler())).host_for(asked("lost"))


async def test_servers_that_never_ask_again_are_not_remembered_for_ever() -> None:
    scheduler = Scheduler()
    scheduler.away = True
    selecting = Selecting(cast(Bus, scheduler))
    await asyncio.gather(*(selecting.host_for(asked(f"s{n}")) for n in range(MAX_PATIENCE + 5)), return_exceptions=True)
    assert len(selecting._patience) == MAX_PATIENCE
