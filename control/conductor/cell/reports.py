"""Who waits for which report, so that an agent is answered only after its report was committed; and how far it is."""

import asyncio
from datetime import datetime

from attrs import define, field

from runtime import ambient
from schemas.errors import Unavailable
from schemas.messages import Progress, Report

Wanted = tuple[str, str, int, str, int]
"""(host, server, generation, step, attempt)"""


@define(eq=False)
class Expectation:
    """`report` is set by the agent's message, `settled` after it was committed or found to be of no use. `moved` is
    when the job was last told to have come further."""

    report: asyncio.Future[Report] = field(factory=lambda: asyncio.get_running_loop().create_future())
    settled: asyncio.Future[bool] = field(factory=lambda: asyncio.get_running_loop().create_future())
    moved: datetime | None = None

    def settle(self, applied: bool) -> None:
        if not self.settled.done():
            self.settled.set_result(applied)


class Expectations:
    def __init__(self) -> None:
        self._open: dict[Wanted, Expectation] = {}

    def expect(self, wanted: Wanted) -> Expectation:
        """The same one for the same job, so that a report that came early is not lost."""
        return self._open.setdefault(wanted, Expectation())

    def forget(self, wanted: Wanted) -> None:
        """Nobody waits for it any more; those who still hold it settle it."""
        self._open.pop(wanted, None)

    def moved(self, host: str, told: Progress) -> None:
        """A job has come further."""
        expectation = self._open.get(_wanted(host, told))
        if expectation is not None:
            expectation.moved = ambient.now()

    async def deliver(self, host: str, report: Report, timeout: float) -> bool | None:
        """True when it was applied, False when it was decided otherwise, None when nobody waits for it.
        Raises Unavailable when that does not become known in time: the agent repeats."""
        expectation = self._open.get(_wanted(host, report))
        if expectation is None:
            return None
        if not expectation.report.done():
            expectation.report.set_result(report)
        try:
            return await asyncio.wait_for(asyncio.shield(expectation.settled), timeout)
        except TimeoutError as error:
            raise Unavailable("the report is not committed yet") from error


def _wanted(host: str, told: Report | Progress) -> Wanted:
    return host, told.mark.server, told.mark.generation, told.step, told.attempt
