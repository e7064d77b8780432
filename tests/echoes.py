"""The simplest function that a bus can carry, and two connections that carry it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

from attrs import frozen

from bus.client import Bus
from bus.service import Endpoint, Service
from schemas.codec import record
from schemas.settings import BusSettings


@record(1)
@frozen
class Question:
    text: str


@record(1)
@frozen
class Answer:
    text: str


async def echo(question: Question, _: str) -> Answer:
    return Answer(question.text)


@frozen(eq=False)
class Pair:
    """Two connections: who asks, and who serves."""

    asker: Bus
    server: Bus
    service: Service
    prefix: str

    async def ask(self, text: str = "?", to: str = "echo", timeout: float = 2.0) -> str:
        return (await self.asker.request(f"{self.prefix}.{to}", Question(text), Answer, timeout)).text

    async def serve(self, handler: Callable[[Question, str], Awaitable[object | None]]) -> Endpoint[Question]:
        return await self.service.serve("echo", f"{self.prefix}.echo", Question, handler)


@asynccontextmanager
async def paired(url: str) -> AsyncIterator[Pair]:
    asker, server = await Bus.connect(BusSettings(url), "asker"), await Bus.connect(BusSettings(url), "server")
    service = Service(server, f"svc-{uuid4().hex}", "0.1.0", "a service of a test")
    await service.start()
    try:
        yield Pair(asker, server, service, f"t{uuid4().hex}")
    finally:
        await service.stop()
        await asker.drain()
        await server.drain()
