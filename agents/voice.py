"""What an agent says to the owners of shards, in the name of its session."""

from typing import Final

import structlog

from bus.client import Bus
from schemas.errors import KilonovaError
from schemas.guest import GuestState
from schemas.messages import Changed, FromAgent, Hello, Progress, Report, ToAgent
from schemas.shards import shard_of
from schemas.subjects import report

log = structlog.get_logger()

ANSWER_SECONDS: Final = 5.0


class Voice:
    def __init__(self, bus: Bus, cell: str, host: str, session: str) -> None:
        self._bus = bus
        self._cell = cell
        self._host = host
        self._session = session

    async def hello(self, hello: Hello) -> ToAgent:
        """To the owner of the host's shard. Raises what he, or the bus, raises."""
        return await self._say(self._host, FromAgent(self._host, self._session, hello=hello))

    async def report(self, server: str, told: Report) -> bool | None:
        """To the owner of the server's shard: whether he applied it, None when he did not answer."""
        try:
            return (await self._say(server, FromAgent(self._host, self._session, report=told))).applied
        except KilonovaError as error:
            log.info("report to be repeated", instance=server, reason=error.message)
            return None

    async def progress(self, told: Progress) -> None:
        """To the owner of the server's shard, who may not hear it."""
        server = told.mark.server
        message = FromAgent(self._host, self._session, progress=told)
        await self._bus.hint(report(self._cell, shard_of(server), self._host), message)

    async def changed(self, state: GuestState) -> bool:
        """To the owner of the server's shard: whether he took note."""
        try:
            return (await self._say(state.server, FromAgent(self._host, self._session, changed=Changed(state)))).applied
        except KilonovaError:
            return False

    async def _say(self, about: str, message: FromAgent) -> ToAgent:
        subject = report(self._cell, shard_of(about), self._host)
        return await self._bus.request(subject, message, ToAgent, ANSWER_SECONDS)
