"""Asks the scheduler for hosts: one question for all builds that want one at the same time."""

import asyncio
from typing import Final

from attrs import define, field

from bus.client import Bus
from schemas.errors import BusUnavailable, CompareFailed, Unavailable
from schemas.messages import Select, Selected, Selection, SelectItem
from schemas.subjects import SCHEDULER_SELECT

MAX_ITEMS: Final = 64
"""each of some kB, and NATS carries 1 MiB"""
MAX_PATIENCE: Final = 10_000
"""servers that are remembered: those that were deleted never ask again"""
SECONDS: Final = (1.5, 12.0)
"""A scheduler that died over a question is not waited for long; a slow one is given twice as long each time, so that
asking again does not bury it."""


@define(eq=False)
class _Asked:
    item: SelectItem
    seconds: float
    answer: asyncio.Future[Selection | None] = field(factory=lambda: asyncio.get_running_loop().create_future())


class Selecting:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: list[_Asked] = []
        self._questions: set[asyncio.Task[None]] = set()
        self._patience: dict[str, float] = {}
        """seconds for the scheduler's answer, by servers that did not get one yet"""

    async def host_for(self, item: SelectItem) -> Selection:
        """Raises CompareFailed when nothing was decided, since the operation or what was to be claimed has changed:
        whoever asks again pauses first. Raises NobodyListens, BusUnavailable or what the scheduler raised."""
        shortest, longest = SECONDS
        server = item.operation.server
        asked = _Asked(item, self._patience.pop(server, shortest))
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._ask_all)
        self._waiting.append(asked)
        try:
            selection = await asked.answer
        except BusUnavailable:
            self._patience[server] = min(asked.seconds * 2, longest)
            if len(self._patience) > MAX_PATIENCE:
                del self._patience[next(iter(self._patience))]
            raise
        if selection is None:
            raise CompareFailed("nothing was claimed: what the choice was made on has changed")
        return selection

    def _ask_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        for i in range(0, len(waiting), MAX_ITEMS):
            task = asyncio.create_task(self._ask(waiting[i : i + MAX_ITEMS]), name="select")
            self._questions.add(task)
            task.add_done_callback(self._questions.discard)

    async def _ask(self, asked: list[_Asked]) -> None:
        select = Select(tuple(one.item for one in asked))
        try:
            selected = await self._bus.request(SCHEDULER_SELECT, select, Selected, max(one.seconds for one in asked))
        except Exception as error:  # whatever it is, nobody is left waiting
            if len(asked) > 1 and not isinstance(error, Unavailable):
                for one in asked:  # such as one whose request cannot be sent: the others' can
                    await self._ask([one])
                return
            for one in asked:
                if not one.answer.done():
                    one.answer.set_exception(error)
            return
        found = {selection.server: selection for selection in selected.decided}
        for one in asked:
            if not one.answer.done():
                one.answer.set_result(found.get(one.item.operation.server))
